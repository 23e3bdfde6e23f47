"""Build the container image and check that it serves: read-only, without root, without network at run time.

    python scripts/check_image.py PHOTO [--engine docker|podman] [--build "ARGUMENTS"] [--run "ARGUMENTS"]

PHOTO shows one face. --build and --run are added to the engine's commands, as --build "--build-arg EXTRAS=serve,fast".
"""

from __future__ import annotations

import argparse
import http.client
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMAGE, TOKEN = "moue-check", "token-of-the-check"
SECONDS_TO_START = 90


class Engine:
    """Docker or Podman."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([self.name, *arguments], capture_output=True, text=True, check=False)
        if check and done.returncode:
            sys.exit(f"{self.name} {' '.join(arguments[:2])} … ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done

    def build(self, arguments: list[str]) -> dict[str, Any]:
        """Build the image; its configuration."""
        # Podman's own format has no health checks.
        format = ["--format", "docker"] if self.name == "podman" else []
        self("build", *format, "--tag", IMAGE, *arguments, str(ROOT))
        return dict(json.loads(self("image", "inspect", IMAGE).stdout)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--engine", choices=("docker", "podman"))
    parser.add_argument("--build", default="", metavar="ARGUMENTS")
    parser.add_argument("--run", default="", metavar="ARGUMENTS")
    args = parser.parse_args()
    name = args.engine or next(filter(shutil.which, ("docker", "podman")), None)
    if name is None:
        sys.exit("neither docker nor podman is installed.")
    engine = Engine(name)
    image = engine.build(shlex.split(args.build))
    user = image["Config"]["User"]
    expect(user.split(":")[0].isdecimal() and int(user.split(":")[0]) > 0, f"the image runs as {user!r}")
    check = (image["Config"].get("Healthcheck") or image.get("Healthcheck"))["Test"]
    expect(check[0] == "CMD", f"the health check needs a shell: {check}")
    safe = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--env", f"MOUE_TOKEN={TOKEN}"]
    if name == "podman":
        safe.append("--read-only-tmpfs=false")  # As Docker: no folder can be written that is not named.
    for tmp in (["--tmpfs", "/tmp"], []):
        words = [*safe, *tmp, *shlex.split(args.run), "--publish", "127.0.0.1::8000", IMAGE, "--queue", "4"]
        container = engine("run", "--detach", *words).stdout.strip()
        try:
            wait_healthy(engine, container, check[1:])
            port = int(engine("port", container, "8000").stdout.split(":")[-1])
            check_serving(port, args.photo.read_bytes(), with_tmp=bool(tmp))
            expect(
                engine("exec", container, "id", "-u").stdout.strip() == user.split(":")[0], "it runs as another user"
            )
            expect(engine("exec", container, "touch", "/opt/x", check=False).returncode != 0, "files can be written")
            begin = time.monotonic()
            engine("stop", "--time", "30", container)
            expect(time.monotonic() - begin < 20, "it does not stop when it is told to")
        except BaseException:
            print(engine("logs", container, check=False).stderr[-2000:], file=sys.stderr)
            raise
        finally:
            engine("rm", "--force", container, check=False)
    print(f"the image, {image['Size'] / 1e6:.0f} MB, reads {args.photo.name}: read-only, as user {user}")


def expect(condition: object, otherwise: str) -> None:
    if not condition:
        sys.exit(otherwise)


def wait_healthy(engine: Engine, container: str, command: list[str]) -> None:
    """Run the image's own health check until it succeeds."""
    end = time.monotonic() + SECONDS_TO_START
    while engine("exec", container, *command, check=False).returncode:
        expect(time.monotonic() < end, f"the server is not healthy after {SECONDS_TO_START} s")
        time.sleep(1)


def check_serving(port: int, photo: bytes, *, with_tmp: bool) -> None:
    """Send photo and video to the server."""
    expect(request(port, "GET", "/", token=None)[0] == 200, "the page is not served")
    expect(request(port, "POST", "/v1/faces", photo, token="wrong")[0] == 401, "a wrong token is accepted")
    status, rows = request(port, "POST", "/v1/faces", photo)
    expect(status == 200 and len(rows[0]["faces"]) == 1, f"the photo has one face. Got {status}, {rows}")
    status, job = request(port, "POST", "/v1/videos", b"no video")
    wanted = 422 if with_tmp else 507
    expect(
        status == wanted,
        f"a video that is none, with{'' if with_tmp else 'out'} /tmp: {wanted} was expected. Got {job}",
    )


def request(port: int, method: str, path: str, body: bytes | None = None, token: str | None = TOKEN) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {} if token is None else {"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content) if "json" in response.getheader("content-type", "") else content


if __name__ == "__main__":
    main()
