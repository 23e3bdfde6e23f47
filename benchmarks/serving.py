"""What serving costs on this machine: start, latency, throughput, load, memory. The load comes from the same machine.

Usage: python benchmarks/serving.py [--model default] [--engine auto] [--seconds 60] [--json FILE]

Each figure is of one server process that is started for this run. Latencies are milliseconds from sending to the last
byte; connections are kept open.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from skimage import data


def jpeg(picture: np.ndarray, width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).resize((width, height)).save(file, "JPEG", quality=90)
    return file.getvalue()


@contextmanager
def serving(*arguments: str):
    words = [sys.executable, "-m", "moue.cli.main", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
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
    """One connection; posts pictures and keeps the times."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.times: list[float] = []
        self.codes: dict[int, int] = {}

    def post(self, content: bytes) -> int:
        start = time.perf_counter()
        self.connection.request("POST", "/v1/faces", content)
        answer = self.connection.getresponse()
        answer.read()
        self.codes[answer.status] = self.codes.get(answer.status, 0) + 1
        if answer.status == 200:
            self.times.append(time.perf_counter() - start)
        else:
            # A client that was asked to wait waits; the refusals are counted.
            time.sleep(min(1.0, float(answer.getheader("retry-after") or 0)))
        return answer.status


def load(port: int, content: bytes, clients: int, seconds: float) -> dict[str, Any]:
    end = time.perf_counter() + seconds

    def work(_: int) -> Client:
        client = Client(port)
        while time.perf_counter() < end:
            client.post(content)
        return client

    with ThreadPoolExecutor(clients) as pool:
        done = list(pool.map(work, range(clients)))
    times = sorted(t for client in done for t in client.times)
    codes: dict[str, int] = {}
    for client in done:
        for code, n in client.codes.items():
            codes[str(code)] = codes.get(str(code), 0) + n
    return {
        "clients": clients,
        "median_ms": round(1000 * statistics.median(times), 1),
        "p99_ms": round(1000 * times[int(0.99 * (len(times) - 1))], 1),
        "slowest_ms": round(1000 * times[-1], 1),
        "answers_per_s": round(len(times) / seconds, 1),
        "codes": codes,
    }


def memory(pid: int) -> float | None:
    """Megabytes in use, where the system tells."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def measure(model: str, engine: str, seconds: float) -> dict[str, Any]:
    photo = jpeg(data.astronaut()[:384], 640, 480)
    crop = jpeg(data.astronaut()[60:220, 150:310], 64, 64)
    result: dict[str, Any] = {"model": model, "engine": engine, "cores": os.cpu_count()}
    short = max(2.0, seconds / 6)
    begin = time.perf_counter()
    with serving("--model", model, "--engine", engine) as (process, port):
        assert Client(port).post(photo) == 200
        result["first_answer_s"] = round(time.perf_counter() - begin, 2)
        for clients in (1, 16):
            result[f"photo_{clients}"] = load(port, photo, clients, short)
        # The soak: memory after the first sixth and at its end.
        load(port, photo, 8, short)
        before = memory(process.pid)
        result["soak"] = load(port, photo, 8, seconds) | {"memory_mb": [before, memory(process.pid)]}
    with serving("--model", model, "--engine", engine, "--detector", "none") as (_, port):
        one, many = load(port, crop, 1, short), load(port, crop, 16, short)
        result |= {"crops_1": one, "crops_16": many}
        result["batching_gain"] = round(many["answers_per_s"] / one["answers_per_s"], 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--engine", default="auto", choices=("auto", "onnxruntime", "openvino"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = measure(args.model, args.engine, args.seconds)
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
