"""The benchmark's report as Markdown: ratios first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Columns of the tables, and their heads.
_RATIOS = {
    "what": "what",
    "reader": "model",
    "engine": "engine",
    "times": "times `fer`",
    "least": "least",
    "most": "most",
    "cpu_times": "by processor time",
}
_SPEEDS = {
    "task": "task",
    "at_once": "at once",
    "reader": "model",
    "engine": "engine",
    "threads": "threads",
    "per_second": "per second",
    "per_cpu_second": "per processor second",
    "times": "times `fer`",
    "cpu_times": "by processor time",
    "share_with_face": "share with a face",
    "gflops": "GFLOP/s",
    "gflops_over_peak": "GFLOP/s over the peak",
}
_PROCESSES = {
    "process": "process",
    "reader": "package",
    "wall": "seconds",
    "cpu": "processor seconds",
    "megabytes": "MB",
    "wall_times": "`fer` over moue",
    "cpu_times": "by processor time",
    "megabytes_times": "by MB",
}


def to_markdown(report: Mapping[str, Any], command: str) -> str:
    """The report.

    Args:
        report: of :func:`moue.bench.run.measure`.
        command: that made it.
    """
    machine, settings = report["machine"], report["settings"]
    peaks = ", ".join(
        f"{value:g} GFLOP/s with {'all' if threads == '0' else threads} threads"
        for threads, value in report["peak_gflops"].items()
    )
    parts = ["# Benchmark", f"{machine['processor']}, {machine['system']}. Made by `{command}`."]
    if report["ratios"]:
        parts += ["## Ratios", table(report["ratios"], _RATIOS)]
    parts += [
        f"Medians of {settings['rounds']} rounds, in which all readers take turns of at least "
        f"{settings['seconds']:g} s; ratios are taken within rounds. Processor time is that of all threads; other "
        "programs disturb it less than wall time. Each turn checks what was read.",
        "## Speeds",
        table(report["speeds"], _SPEEDS),
        "Cropped faces are classified with the model's own views. Photos are of 0.3 to 12 megapixels, one in five "
        "without a face, read from their files; the film is 640 × 480, decoded, searched and tracked. "
        f"*{_SPEEDS['share_with_face']}*: of all photos or frames, those in which the reader found a face. "
        f"*{_SPEEDS['gflops_over_peak']}*: how far the model is from what the machine can do. A product of "
        f"float32 matrices reached {peaks}; products of 8-bit numbers, and convolutions, can be above that.",
        "## Whole processes",
        table(report["processes"], _PROCESSES),
        "The memory of a process is the most that it held.",
        "## Size on disk",
        table(report["installed"], {"reader": "package", "megabytes": "MB with all that it requires"}),
    ]
    if "accuracy" in report:
        parts += ["## Accuracy on PublicTest", table(report["accuracy"], {k: k for k in ("reader", "accuracy", "n")})]
    parts.append("## Versions")
    for row in report["installed"]:
        named = (
            "moue onnxruntime openvino numpy pillow av fer tensorflow tensorflow-cpu keras opencv-contrib-python python"
        )
        versions = {**machine["versions"], **row["versions"]} if row["reader"] == "moue" else row["versions"]
        listed = ", ".join(f"{name} {versions[name]}" for name in named.split() if name in versions)
        parts.append(f"{row['reader']}: {listed}.")
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """A table of those columns that any row has."""
    keys = [key for key in columns if any(row.get(key) is not None for row in rows)]
    lines = [[columns[key] for key in keys], ["---"] * len(keys)]
    lines += [[_cell(row.get(key)) for key in keys] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
