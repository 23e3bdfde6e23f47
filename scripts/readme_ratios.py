"""Write README's ratios beside the package `fer` from results/bench.json, which `moue bench -o results` made.

    python scripts/readme_ratios.py

They stand between two comments. A report without a peer leaves README as it is.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- ratios: scripts/readme_ratios.py -->", "<!-- /ratios -->"
#: What a reader does with faces that are cut out already.
CROPPED = "cropped faces per second"


def best(report: dict[str, Any], what: str) -> dict[str, Any]:
    """The highest ratio of a kind."""
    rows = [row for row in report["ratios"] if row["what"] == what]
    return max(rows, key=lambda row: float(row["times"]))


def sentence(report: dict[str, Any]) -> str:
    """The ratios of one photo, of photos and frames, and of cropped faces, with where they were measured."""
    cold = best(report, "one photo from a cold start")["times"]
    photos, frames = (best(report, f"{task} per second") for task in ("photos", "film frames"))
    cropped = [float(row["times"]) for row in report["ratios"] if row["what"] == CROPPED]
    versions = {row["reader"]: row["versions"] for row in report["installed"]}
    return (
        f"- **Speed**: one photo from a cold start {cold:.1f} times as fast as `fer` {versions['fer']['fer']}, photos "
        f"of all sizes {photos['times']:.1f} times, frames of a 640×480 film {frames['times']:.1f} times\n"
        f"  with `{photos['reader']}` ({report['machine']['processor']}, one run). Faces that are already cropped are "
        f"classified more slowly: {min(cropped):.2f} to\n"
        f"  {max(cropped):.2f} times as fast as by `fer`, by model and engine. [All figures, and of which "
        "models](results/bench.md), by `moue bench`."
    )


def with_ratios(readme: str, report: dict[str, Any]) -> str:
    """README with the report's ratios between the comments."""
    return re.sub(f"{BEGIN}.*?{END}", f"{BEGIN}\n{sentence(report)}\n{END}", readme, flags=re.S)


def main() -> None:
    """Write README."""
    report = json.loads((ROOT / "results" / "bench.json").read_text(encoding="utf-8"))
    if not any(row["reader"] == "fer" for row in report["installed"]):
        sys.exit("results/bench.json has no peer: name the Python of an environment that has fer, as PEER=…")
    readme = ROOT / "README.md"
    readme.write_text(with_ratios(readme.read_text(encoding="utf-8"), report), encoding="utf-8")


if __name__ == "__main__":
    main()
