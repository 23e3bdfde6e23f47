"""`moue bench`: workers check what they read, ratios are taken within rounds, and a peer runs in its own Python."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from moue.bench import protocol
from moue.bench.inputs import make_inputs
from moue.bench.page import to_markdown
from moue.bench.processes import BenchError, Worker, moue_worker, run
from moue.bench.run import BenchOptions, _times
from moue.cli.main import main
from moue.errors import UsageError

#: Stands in for `fer` and what it needs: finds a face in everything.
FAKES = {
    "fer/__init__.py": "",
    "fer/fer.py": "import numpy as np\nclass FER:\n"
    "    def detect_emotions(self, image): return [{'box': image}]\n"
    "    def _classify_emotions(self, crops): return np.ones((len(crops), 7)) / 7\n",
    "cv2.py": "def imread(path): return path\ndef setNumThreads(n): pass\n"
    "class VideoCapture:\n"
    "    def __init__(self, path): self.left = 4\n"
    "    def read(self):\n        self.left -= 1\n        return self.left >= 0, 'frame'\n",
    "tensorflow.py": "",
    "fer-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: fer\nVersion: 1.0\nRequires-Dist: other\n"
    "Requires-Dist: numpy; extra == 'fast'\n",
    "fer-1.0.dist-info/RECORD": "fer/fer.py,,\nfer/__pycache__/fer.pyc,,\n",
    "other-2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: other\nVersion: 2.0\n",
    "other-2.0.dist-info/RECORD": "other/data.bin,,\n",
    "other/data.bin": "x" * 500_000,
}


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A Python whose environment has the fakes."""
    for name, text in FAKES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "site"} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return script


def test_one_run_measures_both_and_writes_json_and_markdown(
    tiny_onnx: Path, peer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = "--rounds 1 --seconds 0 --photos 2 --frames 4 --batch 2 --threads 0 --engine onnxruntime"
    out = tmp_path / "bench"
    assert main(["bench", str(tiny_onnx), "--peer-python", str(peer), "-o", str(out), *sizes.split()]) == 0, (
        capsys.readouterr().err
    )
    assert "photos per second" in capsys.readouterr().out
    report = json.loads((out / "bench.json").read_text())
    speeds = {(row["task"], row["reader"]): row for row in report["speeds"]}
    assert len(speeds) == 10
    assert speeds["film frames", str(tiny_onnx)]["share_with_face"] == 1.0
    assert speeds["photos", str(tiny_onnx)]["share_with_face"] == 0.5
    assert all(row["times"] > 0 and row["cpu_times"] > 0 for row in report["speeds"])
    assert {row["what"] for row in report["ratios"]} >= {"one photo from a cold start", "film frames per second"}
    # Memory is that of a process which reads the film, and nothing else.
    film = {row["reader"]: row for row in report["processes"] if row["process"] == "read the film"}
    assert film["moue"]["megabytes"] > film["fer"]["megabytes"] > 0
    assert all("megabytes" not in row for row in report["speeds"])
    ours, theirs = report["installed"]
    # The fake's own file, what it requires, and neither bytecode nor extras.
    assert (theirs["megabytes"], theirs["versions"].keys()) == (0.5, {"fer", "other", "python"})
    assert ours["megabytes"] > 10
    page = (out / "bench.md").read_text()
    assert page == to_markdown(report, page.split("`")[1])
    assert page.index("## Ratios") < page.index("## Speeds") < page.index("fer 1.0")


def test_a_result_that_is_wrong_ends_the_run(tiny_onnx: Path, tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, 1, 1)
    with moue_worker(str(tiny_onnx), "onnxruntime", 1) as worker:
        with pytest.raises(BenchError, match="faces in 0 of 1 photos, not 1"):
            worker.ask("photos", paths=inputs.photos, faces=1, seconds=0)
        assert worker.ask("photos", paths=inputs.photos, faces=0, seconds=0)["items"] == 1


def test_what_a_worker_or_command_says_when_it_fails_is_told() -> None:
    failing = Worker("it", [sys.executable, "-c", "raise SystemExit('no license')"])
    with failing, pytest.raises(BenchError, match="it has ended: no license"):
        failing.ask("faces", batch=1)
    with pytest.raises(BenchError, match="it ended with 3: why"):
        run([sys.executable, "-c", "import sys; sys.stderr.write('why\\n'); sys.exit(3)"], "it")
    with pytest.raises(BenchError, match="cannot be started"):
        run(["/no/such/program"], "it")


def test_the_memory_of_a_command_is_its_own() -> None:
    # This process holds far more than a bare Python.
    assert run([sys.executable, "-S", "-c", "pass"], "python")[1]["megabytes"] < 30


def test_work_is_timed_until_the_seconds_are_over_and_at_least_once() -> None:
    once = protocol.timed(lambda: (3, 2), 0)
    assert (once["items"], once["found"]) == (3, 2)
    assert protocol.timed(lambda: (1, 1), 0.01)["wall"] >= 0.01


def test_ratios_are_of_the_same_round() -> None:
    # A machine that becomes ten times slower in the second round changes no ratio.
    ours = [{"items": 10, "wall": 1.0, "cpu": 2.0}, {"items": 10, "wall": 10.0, "cpu": 2.0}]
    theirs = [{"items": 5, "wall": 1.0, "cpu": 3.0}, {"items": 5, "wall": 10.0, "cpu": 3.0}]
    assert _times(ours, theirs) == {"times": 2.0, "least": 2.0, "most": 2.0, "cpu_times": 3.0}


def test_options_that_cannot_be_used_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rounds"):
        BenchOptions(rounds=0)
    with pytest.raises(UsageError, match="environment that has fer"):
        BenchOptions(peer=tmp_path / "python")


def test_readme_has_the_ratios_of_the_last_report() -> None:
    """`make bench` writes them; nobody types them."""
    root = Path(__file__).resolve().parent.parent.parent
    spec = importlib.util.spec_from_file_location("readme_ratios", root / "scripts" / "readme_ratios.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    whats = ("one photo from a cold start", "photos per second", "film frames per second")
    times = dict.fromkeys(whats, (1.5, 2.25)) | {script.CROPPED: (0.3, 0.125, 0.75)}
    report = {
        "machine": {"processor": "A, 2 cores"},
        "installed": [{"reader": "fer", "versions": {"fer": "1.0"}}],
        "ratios": [{"what": what, "reader": "tiny", "times": each} for what in times for each in times[what]],
    }
    readme = f"before\n{script.BEGIN}\nstale\n{script.END}\nafter"
    written = script.with_ratios(readme, report)
    assert "stale" not in written
    assert written.count("2.2") == 3
    assert "slowly: 0.12 to\n  0.75 times" in written, "what is slower is said, too"
    assert script.with_ratios(written, report) == written
    readme, file = (root / "README.md").read_text(encoding="utf-8"), root / "results" / "bench.json"
    assert script.BEGIN in readme
    if file.exists():
        assert script.with_ratios(readme, json.loads(file.read_text(encoding="utf-8"))) == readme
