"""Check that the wheel reads faces by itself: build both wheels, install ours without extras, read a photo.

    python scripts/check_wheel.py PHOTO [FOLDER]

FOLDER (build/wheel) keeps the wheels. PHOTO shows one face. It is read in an empty home directory, and any connection
is an error: nothing may be downloaded at first use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What the wheel must contain, besides every model of the checkout.
REQUIRED = ("runtime/assets/centerface.onnx", "runtime/assets/centerface.json", "runtime/assets/centerface.LICENSE")
ABSENT = ("torch", "tensorflow", "openvino", "cv2", "pandas", "matplotlib", "onnx")

READ = f"""
import importlib.util, json, sys
def refuse(event, details):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        raise SystemExit(f"reading used the network: {{event}} {{details}}")
sys.addaudithook(refuse)
here = [name for name in {ABSENT} if importlib.util.find_spec(name)]
if here:
    raise SystemExit(f"the base install brought {{here}}")
import moue
print(json.dumps(moue.read(sys.argv[1]).to_dict()["faces"]))
from moue.cli.main import main
raise SystemExit(main(["predict", sys.argv[1], "--out", sys.argv[2]]))
"""


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    photo = Path(sys.argv[1]).resolve()
    wheels = Path(sys.argv[2] if len(sys.argv) == 3 else ROOT / "build" / "wheel").resolve()
    for old in wheels.glob("moue*.whl"):
        old.unlink()
    projects = [str(ROOT), *map(str, sorted((ROOT / "packages").glob("*")))]
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), *projects)
    [ours] = wheels.glob("moue-*.whl")
    check_content(ours)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        venv.create(root / "venv", with_pip=True)
        python = str(next(root.glob("venv/[bS]*/python*")))
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ours))
        (root / "home").mkdir()
        home = {"HOME": str(root / "home"), "XDG_CACHE_HOME": "", "PYTHONPATH": ""}
        output = run(python, "-c", READ, str(photo), str(root / "out"), env=os.environ | home, cwd=folder)
        faces = json.loads(output.splitlines()[0])
        if len(faces) != 1 or not (root / "out" / f"{photo.stem}.json").is_file():
            sys.exit(f"the photo has one face, and its result must be written. Got {output}")
    print(f"{ours.name}, {ours.stat().st_size / 1e6:.1f} MB, reads {photo.name}: {faces[0]['label']}")


def check_content(wheel: Path) -> None:
    """Refuse a wheel that lacks a file of the package: models, detector, recipes, page."""
    package = ROOT / "src" / "moue"
    tracked = run("git", "-C", str(package), "ls-files", "-z").split("\0")
    models = [p.relative_to(package).as_posix() for p in (package / "runtime" / "assets").glob("*.onnx")]
    required = {f"moue/{name}" for name in (*filter(None, tracked), *REQUIRED, *models)}
    missing = sorted(required - set(zipfile.ZipFile(wheel).namelist()))
    if missing:
        sys.exit(f"{wheel.name} lacks {', '.join(missing)}")


def run(*command: str, env: dict[str, str] | None = None, cwd: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} … ended with {done.returncode}:\n{(done.stdout + done.stderr)[-1500:]}")
    return str(done.stdout)


if __name__ == "__main__":
    main()
