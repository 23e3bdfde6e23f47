"""Check that this Python and its packages give the recorded results: the logits of the models in the wheel for fixed
inputs, and the face of the package's own photo.

    python scripts/check_golden.py            with moue installed, the base install is enough
    python scripts/check_golden.py --write    record the photo's face again, after a look at the difference
"""

from __future__ import annotations

import json
import platform
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np

import moue
from moue.runtime.engine import open_model
from moue.runtime.weights import BUNDLED

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
PHOTO = Path(moue.__file__).parent / "server" / "static" / "sample.jpg"
#: Decoders of JPEG and resampling differ by a gray level between versions of Pillow.
PROBABILITY, PIXELS = 0.02, 2.0
#: 8-bit arithmetic rounds differently on other processors, as the tolerance of its logits says.
PROBABILITY_INT8 = 0.05


def face_of_the_photo(model: str) -> dict[str, Any]:
    """The only face of the package's photo: ``label``, ``box`` and ``probabilities``."""
    [face] = moue.Recognizer(model=model, engine="onnxruntime").read(PHOTO)
    probabilities = {name: round(p, 4) for name, p in face.probabilities.items()}
    return {"label": face.label, "box": [round(float(v), 1) for v in face.box], "probabilities": probabilities}


def differences(model: str, recorded: dict[str, Any]) -> list[str]:
    """What differs from the recorded results by more than rounding; a sentence each."""
    inputs = runpy.run_path(str(Path(__file__).with_name("golden.py")))["inputs"]
    engine = open_model(model, engine="onnxruntime")
    golden = json.loads((GOLDEN / f"{model}.json").read_text(encoding="utf-8"))
    off = float(np.abs(engine.logits(inputs(engine.spec)) - np.array(golden["logits"])).max())
    found = (
        [] if off <= golden["tolerance"] else [f"{model}: logits differ by {off:.4f}, {golden['tolerance']} allowed"]
    )
    face = face_of_the_photo(model)
    moved = float(np.abs(np.subtract(face["box"], recorded["box"])).max())
    changed = max(abs(face["probabilities"][name] - p) for name, p in recorded["probabilities"].items())
    allowed = PROBABILITY_INT8 if model.endswith("-int8") else PROBABILITY
    if face["label"] != recorded["label"] or moved > PIXELS or changed > allowed:
        found.append(f"{model}: the photo's face is {face}, {recorded} was recorded")
    return found


def main(arguments: list[str]) -> int:
    file = GOLDEN / "photo" / "sample.json"
    if "--write" in arguments:
        file.parent.mkdir(exist_ok=True)
        faces = {model: face_of_the_photo(model) for model in BUNDLED}
        file.write_text(json.dumps(faces, indent=1) + "\n", encoding="utf-8")
    recorded = json.loads(file.read_text(encoding="utf-8"))
    found = [line for model in BUNDLED for line in differences(model, recorded[model])]
    sys.stdout.writelines(f"{line}\n" for line in found)
    if not found:
        print(
            f"Python {platform.python_version()}, numpy {np.__version__}: {len(BUNDLED)} models give recorded results"
        )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
