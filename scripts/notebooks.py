"""Run the notebooks of docs/notebooks from top to bottom, and keep what each cell prints as its output.

    python scripts/notebooks.py            write the outputs
    python scripts/notebooks.py --check    exit with 1 where they are others than those written

The cells are plain Python: without a kernel's magics, running them one after the other in one namespace is what a
kernel does, and neither Jupyter nor its server need to be installed for the tests. A cell's last expression is shown
as a kernel shows it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "notebooks"


def execute(notebook: dict[str, Any], name: str) -> None:
    """Run the code cells in an empty folder and set their outputs.

    Raises:
        Exception: whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    back = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for count, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), 1):
                cell["execution_count"] = count
                cell["outputs"] = run_cell("".join(cell["source"]), names, f"{name}[{count}]", count)
        finally:
            os.chdir(back)


def run_cell(source: str, names: dict[str, Any], where: str, count: int) -> list[dict[str, Any]]:
    """What a cell prints, and its last expression, as nbformat 4 has them."""
    body = ast.parse(source, where).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), where, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    outputs: list[dict[str, Any]] = []
    if text := printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append({"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"})
    return outputs


def written(notebook: dict[str, Any]) -> str:
    """A notebook as its file has it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    differ = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        notebook = json.loads(before)
        execute(notebook, path.name)
        if written(notebook) == before:
            continue
        differ.append(path.name)
        if "--check" not in arguments:
            path.write_text(written(notebook), encoding="utf-8")
    sys.stdout.writelines(f"{name} changed\n" for name in differ)
    return int("--check" in arguments and bool(differ))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
