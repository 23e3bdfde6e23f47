"""Check that nothing leaves the machine: a reader and a server live where every question to the DNS is seen.

    python scripts/check_privacy.py [SECONDS]

Each program runs for SECONDS (40) in a network of its own, whose only name server is this script, and in an empty home
directory. ONNX Runtime alone, with its telemetry on, runs beside them: it must ask for a name, or nothing would be
shown by the silence of the others. This needs Linux and the right to make namespaces (`unshare --user --net --mount`).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SECONDS = 40.0
READER = """
import sys, time
import numpy as np
import moue
image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
for engine in ("onnxruntime", "openvino"):
    moue.Recognizer("default", engine=engine).read([image, image])
print("ready", flush=True)
time.sleep(1e6)
"""
SERVER = """
from moue.cli.main import main
print("ready", flush=True)
main(["serve", "--port", "0"])
"""
CONTROL = """
import time
import onnxruntime
print("ready", flush=True)
time.sleep(1e6)
"""
#: Variables by which some packages know that they are tested, and then report nothing.
TESTED = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(observe(sys.argv[2], float(sys.argv[3]))))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    runs = {name: start(code, seconds) for name, code in (("reader", READER), ("server", SERVER), ("control", CONTROL))}
    seen = {}
    for name, run in runs.items():
        output, errors = run.communicate()
        if run.returncode:
            sys.exit(f"the {name} did not run in a network of its own:\n{errors[-1500:]}")
        seen[name] = json.loads(output)
    for name in ("reader", "server"):
        foreign = [path for path in seen[name]["files"] if not path.startswith(".cache/moue/")]
        if seen[name]["names"] or foreign:
            sys.exit(f"the {name} asked for {seen[name]['names']} and wrote {foreign}. Neither is allowed.")
    if not seen["control"]["names"]:
        sys.exit(f"ONNX Runtime with telemetry asked for no name in {seconds:g} s: the check saw nothing.")
    print(f"in {seconds:g} s reader and server asked for no name; ONNX Runtime alone for {seen['control']['names'][0]}")


def start(code: str, seconds: float) -> subprocess.Popen[str]:
    """This script inside namespaces of its own."""
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", sys.executable, __file__, "--inside"]
    return subprocess.Popen([*command, code, str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def observe(code: str, seconds: float) -> dict[str, list[str]]:
    """Run code for a while; the names that it asks for, and the files that it leaves in an empty home."""
    names: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        be_name_server(Path(folder), names)
        home = Path(folder) / "home"
        home.mkdir()
        environment = {k: v for k, v in os.environ.items() if k not in (*TESTED, "XDG_CACHE_HOME", "MOUE_CACHE")}
        program = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**environment, "HOME": str(home)}
        )
        assert program.stdout is not None
        if program.stdout.readline() != "ready\n":
            sys.exit("the program ended before it was ready")
        time.sleep(seconds)
        if program.poll() is not None:
            sys.exit(f"the program ended with {program.returncode}")
        program.terminate()
        program.wait()
        files = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    return {"names": names, "files": sorted(files)}


def be_name_server(folder: Path, names: list[str]) -> None:
    """Answer every question of this namespace with an error, and append the name that it asks for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # SIOCSIFFLAGS: bring the loopback interface up.
        fcntl.ioctl(control, 0x8914, struct.pack("16sh22x", b"lo", 1))
    configuration = folder / "resolv.conf"
    configuration.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", encoding="ascii")
    subprocess.run(["mount", "--bind", str(configuration), "/etc/resolv.conf"], check=True)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def answer() -> None:
        while True:
            question, client = server.recvfrom(512)
            names.append(name_in(question))
            # A response (QR) of code 2, SERVFAIL, to the same question.
            server.sendto(question[:2] + b"\x81\x82" + question[4:], client)

    threading.Thread(target=answer, daemon=True).start()


def name_in(question: bytes) -> str:
    """The name in a DNS question: labels with their lengths, after a header of 12 bytes."""
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels)


if __name__ == "__main__":
    main()
