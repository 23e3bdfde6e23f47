"""Measures the server on this machine: start, latency, throughput, camera, memory. The clients run here too.

Usage: python benchmarks/serving.py [--model default] [--engine NAME]... [--seconds 10] [--soak [60]] [--json FILE]

Each engine (by default OpenVINO, of the extra `fast`, and ONNX Runtime, of the base install) gets servers of its own.
Latencies are milliseconds from the request to the last byte of the response; connections are kept open. --seconds is
the length of one measurement, --soak adds eight clients for that many seconds and records memory.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from skimage import data
from websockets.sync.client import connect

ENGINES = ("openvino", "onnxruntime")


def jpeg(image: np.ndarray, width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).resize((width, height)).save(file, "JPEG", quality=90)
    return file.getvalue()


@contextmanager
def serving(*arguments: str):
    command = [sys.executable, "-m", "moue", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "serving on" in line:
                break
        else:
            raise SystemExit("the server did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, urlsplit(line.split()[-1]).port
    finally:
        process.terminate()
        process.wait(30)


class Client:
    """One connection; posts images and records latencies and status codes."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.times: list[float] = []
        self.codes: Counter[str] = Counter()

    def post(self, content: bytes) -> int:
        start = time.perf_counter()
        self.connection.request("POST", "/v1/faces", content)
        response = self.connection.getresponse()
        response.read()
        self.codes[str(response.status)] += 1
        if response.status == 200:
            self.times.append(time.perf_counter() - start)
        else:
            # Rejected requests are counted; the client waits as it is told, longer than a connection may be idle.
            self.connection.close()
            time.sleep(float(response.getheader("retry-after") or 0))
        return response.status


def load(port: int, content: bytes, clients: int, seconds: float) -> dict[str, Any]:
    """Several clients, each of which sends its next request when it has the response to the previous one."""
    start = time.perf_counter()

    def run(_: int) -> Client:
        client = Client(port)
        while not client.codes or time.perf_counter() < start + seconds:
            client.post(content)
        client.connection.close()
        return client

    with ThreadPoolExecutor(clients) as pool:
        done = list(pool.map(run, range(clients)))
    took = time.perf_counter() - start
    times = sorted(t for client in done for t in client.times)
    codes = sum((client.codes for client in done), Counter[str]())
    if not times:
        raise SystemExit(f"no request succeeded: {dict(codes)}")
    return {
        "clients": clients,
        "median_ms": round(1000 * statistics.median(times), 1),
        "p99_ms": round(1000 * times[int(0.99 * (len(times) - 1))], 1),
        "slowest_ms": round(1000 * times[-1], 1),
        "responses_per_s": round(len(times) / took, 1),
        "share_429": round(codes["429"] / sum(codes.values()), 4),
        "codes": dict(codes),
    }


def camera(port: int, frame: bytes, seconds: float) -> dict[str, Any]:
    """Frames per second of a camera that sends a frame when it has the result of the previous one, as the page does."""
    times: list[float] = []
    with connect(f"ws://127.0.0.1:{port}/v1/frames", max_size=None) as socket:
        start = time.perf_counter()
        while not times or time.perf_counter() < start + seconds:
            sent = time.perf_counter()
            socket.send(frame)
            assert json.loads(socket.recv(60))["status"] == "ok"
            times.append(time.perf_counter() - sent)
        took = time.perf_counter() - start
    return {"frames_per_s": round(len(times) / took, 1), "median_ms": round(1000 * statistics.median(times), 1)}


def page_camera(port: int, image: np.ndarray, seconds: float) -> dict[str, Any] | None:
    """Frames per second of the page itself, in Chromium with a camera of 640×480; None without Chromium."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        video = Path(folder) / "camera.mjpeg"
        # The face moves, so that no two frames are the same.
        video.write_bytes(b"".join(jpeg(np.roll(image, 4 * i, axis=1), 640, 480) for i in range(30)))
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"]
        flags += ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={video}"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        page = browser.new_page()
        results: list[float] = []
        page.on("websocket", lambda w: w.on("framereceived", lambda _: results.append(time.perf_counter())))
        page.goto(f"http://127.0.0.1:{port}/")
        page.click("#camera")
        page.wait_for_timeout(2000)
        before, start = len(results), time.perf_counter()
        page.wait_for_timeout(1000 * seconds)
        rate = (len(results) - before) / (time.perf_counter() - start)
        browser.close()
    return {"frames_per_s": round(rate, 1)}


def soak(port: int, pid: int, content: bytes, seconds: float) -> dict[str, Any]:
    """Eight clients for a while: their status codes, and the growth of memory."""
    load(port, content, 8, max(1.0, seconds / 6))
    end, used = time.perf_counter() + seconds, [memory(pid)]
    parts = []
    while time.perf_counter() < end:
        parts.append(load(port, content, 8, seconds / 6))
        used.append(memory(pid))
    codes = sum((Counter(part["codes"]) for part in parts), Counter[str]())
    growth = None if used[0] is None else round(used[-1] - used[0], 1)
    slowest = max(part["slowest_ms"] for part in parts)
    result = {"clients": 8, "seconds": seconds, "codes": dict(codes), "slowest_ms": slowest}
    return result | {"memory_mb": used, "growth_mb": growth}


def memory(pid: int) -> float | None:
    """Megabytes in use; None where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def measure(model: str, engine: str, seconds: float, soak_seconds: float | None) -> dict[str, Any]:
    photo = jpeg(data.astronaut()[:384], 640, 480)
    crop = jpeg(data.astronaut()[60:220, 150:310], 64, 64)
    result: dict[str, Any] = {"engine": engine, "first_response_s": []}
    for _ in range(3):
        begin = time.perf_counter()
        with serving("--model", model, "--engine", engine) as (_process, port):
            client = Client(port)
            assert client.post(photo) == 200
            result["first_response_s"].append(round(time.perf_counter() - begin, 2))
            client.connection.close()
    with serving("--model", model, "--engine", engine) as (process, port):
        load(port, photo, 1, 1)
        for clients in (1, 4, 16, 32):
            result[f"photo_{clients}_client{'s' * (clients > 1)}"] = load(port, photo, clients, seconds)
        result["camera_640x480"] = camera(port, photo, seconds)
        result["camera_on_the_page"] = page_camera(port, data.astronaut()[:384], seconds)
        if soak_seconds:
            result["soak"] = soak(port, process.pid, photo, soak_seconds)
    with serving("--model", model, "--engine", engine, "--detector", "none") as (_process, port):
        load(port, crop, 1, 1)
        # Alternating, so that a machine that slows down affects both.
        turns = [(load(port, crop, 1, seconds / 2), load(port, crop, 16, seconds / 2)) for _ in range(2)]
        one, many = (statistics.mean(turn[i]["responses_per_s"] for turn in turns) for i in (0, 1))
        result["crops_1_client_per_s"], result["crops_16_clients_per_s"] = round(one, 1), round(many, 1)
        result["batching_gain"] = round(many / one, 2)
    return result


def machine() -> dict[str, Any]:
    packages = ("fastapi", "uvicorn", "onnxruntime", "openvino", "numpy", "pillow")
    named = [line.partition(":")[2].strip() for line in cpu_lines() if line.startswith("model name")]
    return {
        "cpu": named[0] if named else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "versions": {name: version(name) for name in packages},
    }


def cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="may be repeated (default: both)")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--soak", type=float, nargs="?", const=60.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "model": args.model, "seconds": args.seconds, "engines": []}
    for engine in args.engine or ENGINES:
        result["engines"].append(measure(args.model, engine, args.seconds, args.soak))
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
