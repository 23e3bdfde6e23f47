"""Mutation testing: change one operator, number or branch of a module at a time; its tests must then fail.

    python scripts/mutate.py MODULE... [--minutes 20] [--seed 0] [--json FILE]

MODULE is one of TESTS below. Each mutant is loaded in a forked child in place of the module's source, which is not
touched, and the child runs the module's tests until the first one fails. Mutants are drawn at random while there is
time: minutes of a processor. It needs a system that can fork.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Module to the tests that must notice.
TESTS = {
    "moue.preprocess": ["tests/test_preprocess.py"],
    "moue.spec": ["tests/test_spec.py"],
    "moue.evaluation.metrics": ["tests/evaluation/test_metrics.py", "tests/evaluation/test_metric_values.py"],
    "moue.data.splits": ["tests/data/test_splits.py", "tests/data/test_split_values.py"],
    "moue.runtime.video.track": ["tests/runtime/test_track.py", "tests/runtime/test_track_values.py"],
}
#: A mutant that loops for ever is killed by the clock.
SECONDS = 120

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.UAdd: ast.USub,
    ast.USub: ast.UAdd,
}


@dataclass
class Mutant:
    """One change of a module."""

    module: str
    line: int
    change: str
    source: str
    outcome: str = ""


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Every mutant: another operator, comparison, number, condition or result, or a call without its last argument."""
    tree = ast.parse(source)
    skipped = _not_run(tree)
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for change in range(len(_changes(copy.deepcopy(node)))):
            copied = copy.deepcopy(tree)
            target = next(n for i, n in enumerate(ast.walk(copied)) if i == index)
            before = ast.unparse(target)
            _changes(target)[change]()
            yield Mutant(
                module,
                getattr(node, "lineno", 0),
                f"{_short(before)}  →  {_short(ast.unparse(target))}",
                ast.unparse(copied),
            )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def _changes(node: ast.AST) -> list:
    """Functions that each change the node in one way."""
    made = []
    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAPS:
        made.append(lambda: setattr(node, "op", SWAPS[type(node.op)]()))
    if isinstance(node, ast.UnaryOp) and type(node.op) in SWAPS:
        made.append(lambda: setattr(node, "op", SWAPS[type(node.op)]()))
    if isinstance(node, ast.Compare):
        made += [
            lambda i=i: node.ops.__setitem__(i, SWAPS[type(node.ops[i])]())
            for i in range(len(node.ops))
            if type(node.ops[i]) in SWAPS
        ]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        made.append(lambda: setattr(node, "value", not node.value))
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        made.append(lambda: setattr(node, "value", node.value + 1))
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        made.append(lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test)))
    if isinstance(node, ast.Return) and node.value is not None:
        made.append(lambda: setattr(node, "value", ast.Constant(None)))
    if isinstance(node, ast.Call) and node.keywords:
        made.append(lambda: node.keywords.pop())
    return made


def _not_run(tree: ast.Module) -> set[int]:
    """Docstrings, annotations and imports: nothing that a test could see."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts = [node.returns, *(a.annotation for a in (*node.args.args, *node.args.kwonlyargs))]
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, (ast.Import, ast.ImportFrom)) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            parts = [node]
        elif isinstance(node, ast.Raise):
            # The words of a message.
            parts = [node.exc]
        for part in parts:
            if part is not None:
                skipped |= {id(inner) for inner in ast.walk(part)}
    return skipped


class Loader(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Gives one module another source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self, origin=self.path) if name == self.name else None

    def get_filename(self, name: str) -> str:
        return self.path

    def get_data(self, path: str) -> bytes:
        return self.source.encode()

    def path_stats(self, path: str) -> dict:
        raise OSError  # No bytecode of it is cached.


def run(mutant: Mutant, path: str) -> str:
    """ "killed", "survived" or "timeout"."""
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException), open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 1)
            os.dup2(null.fileno(), 2)
            sys.meta_path.insert(0, Loader(mutant.module, path, mutant.source))
            import pytest

            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "ignore"]
            code = int(pytest.main([*options, *(t for t in TESTS[mutant.module] if Path(t).exists())]))
        os._exit(code)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--minutes", type=float, default=20, help="of processor time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # Loaded once for all children; nothing of moue is.
    for name in (
        "numpy",
        "PIL.Image",
        "hypothesis",
        "onnx",
        "onnxruntime",
        "skimage.data",
        "pytest",
        "scipy",
        "sklearn",
    ):
        importlib.import_module(name)
    todo, paths = [], {}
    for module in args.modules:
        paths[module] = str(ROOT / "src" / Path(*module.split(".")).with_suffix(".py"))
        source = Path(paths[module]).read_text(encoding="utf-8")
        if run(Mutant(module, 0, "none", source), paths[module]) != "survived":
            sys.exit(f"the tests of {module} fail without any change")
        todo += list(mutants(module, source))
    random.Random(args.seed).shuffle(todo)
    done = []
    for mutant in todo:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        if used.ru_utime + used.ru_stime > 60 * args.minutes:
            break
        mutant.outcome = run(mutant, paths[mutant.module])
        done.append(mutant)
        if args.json:  # After each, so that an end at any moment loses none.
            rows = [{k: v for k, v in asdict(m).items() if k != "source"} for m in done]
            args.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if mutant.outcome == "survived":
            print(f"{mutant.module}:{mutant.line}  {mutant.change}", flush=True)
    for module in args.modules:
        ours = [m for m in done if m.module == module]
        alive = sum(m.outcome == "survived" for m in ours)
        print(f"{module}: {len(ours)} of {sum(m.module == module for m in todo)} mutants tried, {alive} survived")


if __name__ == "__main__":
    main()
