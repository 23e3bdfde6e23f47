"""The layers (CONTRIBUTING.md): imports go down only and in no circles, and the base install reads without extras."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "moue"

#: From the ground up. A unit is a package or module right below `moue`; it imports its own layer and those below.
LAYERS = [
    {"_version", "errors", "labels", "spec", "preprocess", "tta", "registry", "cache", "renames", "signatures"}
    | {"image", "image_file", "image_format", "pixels", "fonts"}
    | {"files", "run_folder", "progress", "silence", "telemetry", "damage"},
    {"runtime", "data", "models"},
    {"evaluation", "trained", "doctor"},
    {"report", "timeline"},
    {"training", "export", "explain"},
    {"comparison", "comparison_entries", "cross_validation", "search", "ensembles", "bench", "reporting"},
    {"cli", "server", "compat", "scale", "__main__"},
]
LAYER = {unit: height for height, units in enumerate(LAYERS) for unit in units}

#: Entry points: they import, and nobody imports them.
ENTRY_POINTS = {"cli", "server", "compat", "scale"}

TORCH = {"torch", "lightning", "pytorch_lightning", "torchmetrics", "transformers"}
KNOWS_TORCH = re.compile(r"moue\.((training|export)(\..+)?|models\.\w+|explain\.gradients)")

#: An entry of a lazy table: "moue.models.vit:ViTCompact", "moue.runtime.detect".
ENTRY = re.compile(r"moue(\.[a-z_]\w*)+(:\w+)?")

#: There is no CPU build of the first, and the others need it.
NEVER = {"torchvision", "timm", "pytorch_grad_cam", "torchaudio"}

#: What `pip install moue` brings.
BASE = {"numpy", "PIL", "onnxruntime", "av"}

#: Packages that report their use unless they are told not to, by the one module that may import them.
REPORTING = {"onnxruntime", "openvino", "openvino_telemetry", "ray"}

#: What it does not bring, and what must therefore never be loaded by reading an image.
EXTRAS = ["torch", "matplotlib", "ray", "fastapi", "transformers", "pandas", "sklearn", "lightning", "scipy", "yaml"]
ABSENT = [*EXTRAS, "jinja2", "onnx", "openvino", "pyarrow", "safetensors", "skimage", "cv2", "keras", "h5py", "uvicorn"]
ABSENT += ["fsspec"]


@dataclass(frozen=True)
class Import:
    """One import, wherever in the file: in a function, under TYPE_CHECKING, by `require`, or as text in a registry."""

    module: str
    line: int
    eager: bool
    """Whether it runs when the file is imported."""


def modules() -> dict[str, Path]:
    """Dotted name to file, of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, path: Path) -> Iterator[Import]:
    yield from _walk(ast.parse(path.read_text(encoding="utf-8")), name, path.name == "__init__.py", eager=True)


def _walk(node: ast.AST, name: str, package: bool, eager: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        checked = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, eager) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = name.split(".")
                parents = parents[: len(parents) - child.level + (1 if package else 0)]
                base = ".".join([*parents, *filter(None, [base])])
            # `from moue import errors` names the module in its second half.
            full = [f"{base}.{a.name}" for a in child.names] if base == "moue" else [base]
            yield from (Import(module, child.lineno, eager) for module in full)
        elif isinstance(child, ast.Call) and child.args and isinstance(child.args[0], ast.Constant):
            # A `require` whose module is not kept only asks whether the extra is there.
            if _called(child) in ("require", "import_module", "__import__") and not isinstance(node, ast.Expr):
                yield Import(str(child.args[0].value), child.lineno, False)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str) and ENTRY.fullmatch(child.value):
            yield Import(child.value.partition(":")[0], child.lineno, False)
        yield from _walk(child, name, package, eager and not later and not checked)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def unit(module: str) -> str:
    """ "moue.data.table" is part of the unit "data"."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


IMPORTS = {name: list(imports(name, path)) for name, path in MODULES.items()}


def inside(name: str) -> Iterator[Import]:
    """A module's imports of other units of moue. `moue` itself is a lazy table of names and is in no layer."""
    for found in IMPORTS[name]:
        other = unit(found.module)
        if found.module.split(".")[0] == "moue" and other in LAYER and other != unit(name):
            yield found


def test_every_module_is_in_a_layer() -> None:
    assert {unit(name) for name in MODULES} - {""} <= LAYER.keys()


def test_the_walk_sees_imports_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(
        "import moue.errors\nfrom moue import spec\nfrom .table import X\nTABLE = {'a': 'moue.models.vit:ViT'}\n"
        "def f():\n    from moue.cli import main\n    t = require('torch', 'train')\n    require('ray', 'scale')\n"
    )
    seen = {(i.module, i.eager) for i in imports("moue.data.sample", path)}
    assert seen == {
        ("moue.errors", True),
        ("moue.spec", True),
        ("moue.data.table", True),
        ("moue.models.vit", False),
        ("moue.cli", False),
        ("torch", False),
    }


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down_only(name: str) -> None:
    if name == "moue":
        return
    upward = [f"line {i.line}: {i.module}" for i in inside(name) if LAYER[unit(i.module)] > LAYER[unit(name)]]
    assert not upward, f"{name} imports from a layer above: {upward}"
    # The command line is how others are started.
    closed = ENTRY_POINTS - {"cli": {"server", "scale"}, "__main__": {"cli"}}.get(unit(name), set())
    entry_points = [f"line {i.line}: {i.module}" for i in inside(name) if unit(i.module) in closed]
    assert not entry_points, f"{name} imports an entry point: {entry_points}"


def test_units_of_a_layer_do_not_import_each_other_both_ways() -> None:
    pairs = {(unit(name), unit(i.module)) for name in MODULES if name != "moue" for i in inside(name)}
    mutual = {tuple(sorted(pair)) for pair in pairs if pair[::-1] in pairs}
    assert not mutual


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        name: {i.module for i in found if i.module in MODULES and i.module not in (name, "moue")}
        for name, found in IMPORTS.items()
        if name != "moue"
    }

    # A module that imports none of those left, or that none of them imports, is in no circle.
    def outside() -> set[str]:
        imported = set().union(*graph.values())
        return {name for name, needs in graph.items() if not needs & graph.keys() or name not in imported}

    while free := outside():
        graph = {name: needs for name, needs in graph.items() if name not in free}
    circles = {name: sorted(needs & graph.keys()) for name, needs in graph.items()}
    assert not circles, f"modules that import each other: {circles}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_what_makes_models_knows_torch(name: str) -> None:
    roots = {i.module.split(".")[0]: i.line for i in IMPORTS[name]}
    assert not NEVER & roots.keys()
    if not KNOWS_TORCH.fullmatch(name) or name == "moue.training.config":
        assert not TORCH & roots.keys(), f"{name} imports torch on line {roots}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_packages_with_telemetry_are_imported_in_one_place(name: str) -> None:
    lines = [f"line {i.line}: {i.module}" for i in IMPORTS[name] if i.module.split(".")[0] in REPORTING]
    assert not lines or name == "moue.telemetry", f"{name} imports {lines}; use moue.telemetry"


def test_media_are_opened_where_their_formats_are_limited() -> None:
    calls = {
        (name, ast.unparse(call))
        for name, path in MODULES.items()
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "av.open"
    }
    # The writer opens nothing but its own output.
    reading = {name for name, call in calls if "'w'" not in call}
    assert reading == {"moue.runtime.video.container"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_optional_packages_are_imported_where_they_are_used(name: str) -> None:
    if KNOWS_TORCH.fullmatch(name) or unit(name) == "server":
        return
    eager = {i.module.split(".")[0] for i in IMPORTS[name] if i.eager}
    optional = eager - set(sys.stdlib_module_names) - BASE - {"moue", "__future__"}
    assert not optional, f"{name} imports {optional} as it loads; use errors.require in the function that needs it"


def fresh(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that has loaded nothing yet."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
    )


LOADED = """
import json, sys
{body}
print("\\nLOADED" + json.dumps(sorted({{m.split(".")[0] for m in sys.modules}})))
"""


def loaded(body: str, *arguments: str) -> set[str]:
    done = fresh(LOADED.format(body=body), *arguments)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.rpartition("LOADED")[2]))


def test_importing_moue_loads_nothing_but_itself() -> None:
    assert not loaded("import moue") & {*EXTRAS, *BASE}


def test_help_loads_no_heavy_package() -> None:
    body = "from moue.cli.main import main\ntry: main(['--help'])\nexcept SystemExit as end: assert end.code == 0"
    assert not loaded(body) & {*EXTRAS, *BASE}


def test_reading_an_image_loads_no_optional_package(tmp_path: Path, tiny_onnx: Path) -> None:
    image = tmp_path / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50), dtype=np.uint8)).save(image)
    body = (
        "from moue.cli.main import main\n"
        "assert main(['predict', sys.argv[1], '--detector', 'none', '--model', sys.argv[2], '--format', 'json']) == 0"
    )
    assert not loaded(body, str(image), str(tiny_onnx)) & set(EXTRAS)


BLOCK = """
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def test_the_base_install_imports_without_any_extra() -> None:
    base = [n for n in MODULES if not KNOWS_TORCH.fullmatch(n) and unit(n) != "server"]
    body = "for name in sys.argv[1:]: importlib.import_module(name)"
    done = fresh(BLOCK.format(absent=ABSENT) + body, *base, "moue.training.config")
    assert done.returncode == 0, done.stderr


def test_every_command_explains_itself_on_the_base_install() -> None:
    body = (
        "from moue.cli.main import main\n"
        "for name in sys.argv[1:]:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0, name\n"
    )
    done = fresh(BLOCK.format(absent=ABSENT) + body, *COMMANDS)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"usage: moue {name}" in done.stdout


def test_a_missing_extra_is_named_with_what_to_type() -> None:
    arguments = ["train", "study/googlenet", "--data", "synth", "--out", "never-made"]
    body = "from moue.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    done = fresh(BLOCK.format(absent=ABSENT) + body, *arguments)
    assert done.returncode == 2
    assert "pip install 'moue[train]'" in done.stderr
    assert "Traceback" not in done.stderr
