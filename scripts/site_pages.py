"""MkDocs hook: the pages that are made while the site is built, and links from docs/ to the rest of the repository.

Pages that are made: every command's help, a card for each installed model, the notebooks of docs/notebooks, the
results, the changelog and CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from moue.cli.main import COMMANDS, parser_of
from moue.report.card import model_card
from moue.runtime.weights import list_models
from moue.spec import ModelSpec

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"(\[[^\]]*\])\(([^)\s]+)\)")
FENCE = re.compile(r"^(```.*?^```|    .*?$)", re.MULTILINE | re.DOTALL)

#: Files outside of docs/ that are pages, and where.
BESIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_config(config: Any) -> Any:
    """Fill in the pages that are made, and those of docs/ that the navigation does not name."""
    made = {
        "notebooks/": sorted(notebooks()),
        "cards/": [f"cards/{name}.md" for name in cards()],
        "results/": sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "results").rglob("*.md")),
    }
    for section in config.nav:
        [(title, pages)] = section.items()
        if isinstance(pages, str) and pages in made:
            section[title] = made[pages]
    named = set(_pages(config.nav))
    rest = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
    [how] = [section["How to"] for section in config.nav if "How to" in section]
    how += [page for page in rest if page not in named]
    return config


def _pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in _pages(part)]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made, and the results with their figures."""
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    for name, card in cards().items():
        files.append(File.generated(config, f"cards/{name}.md", content=card))
    for name, text in notebooks().items():
        files.append(File.generated(config, name, content=text))
    for source, name in BESIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    for path in sorted((ROOT / "results").rglob("*")):
        if path.is_file():
            name = path.relative_to(ROOT).as_posix()
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links between files of the repository as links between pages; those to files that are no page as their names."""
    source = page.file.abs_src_path
    if source is None or page.file.src_uri.startswith("reference/commands"):
        return markdown
    here = Path(source).resolve().parent
    known = {Path(f.abs_src_path).resolve(): f.src_uri for f in files if f.abs_src_path}

    def link(match: re.Match[str]) -> str:
        label, target = match.groups()
        path, _, fragment = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        found = (here / path).resolve()
        if found in known:
            start = posixpath.dirname(page.file.src_uri) or "."
            return f"{label}({posixpath.relpath(known[found], start)}{'#' + fragment if fragment else ''})"
        return f"{label[1:-1]} (`{found.relative_to(ROOT).as_posix()}`)"

    return LINK.sub(link, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Docstrings name other objects as Sphinx does, which Markdown leaves as it is: their names alone; so with "::"."""
    html = html.replace("<p>::</p>", "")
    return re.sub(r":(?:func|class|data|meth|mod|attr):<code>~?(?:[\w.]+\.)?(\w+)</code>", r"<code>\1</code>", html)


def cards() -> dict[str, str]:
    """Model to the page of its card, from its spec."""
    return {
        model["name"]: model_card(ModelSpec.load(Path(model["path"]).with_suffix(".json"))) for model in list_models()
    }


def commands() -> str:
    """Every command with its options, from their parsers."""
    lines = [
        "# Commands",
        "",
        "As `moue COMMAND --help` prints them; `moue --version` prints the version. "
        "[Exit codes and formats](../index.md#commands).",
        "",
    ]
    for name in COMMANDS:
        lines += _command(f"moue {name}", parser_of(name))
    return "\n".join(lines)


def _command(title: str, parser: argparse.ArgumentParser) -> list[str]:
    lines = [f"## {title}", "", parser.description or "", ""]
    formatter = argparse.HelpFormatter(prog=title, width=100)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    lines += ["```text", formatter.format_help().strip(), "```", ""]
    inner: dict[str, argparse.ArgumentParser] = {}
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner = dict(action.choices)
        elif action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
            rows.append(f"| {_typed(action)} | {_cell(formatter._expand_help(action) if action.help else '')} |")
    if rows:
        lines += ["| option | meaning |", "|---|---|", *rows, ""]
    for name, sub in inner.items():
        lines += [line.replace("## ", "### ", 1) for line in _command(f"{title} {name}", sub)]
    return lines


def _typed(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    value = (
        ""
        if action.nargs == 0
        else f" {metavar}"
        if action.choices is None
        else f" {'|'.join(map(str, action.choices))}"
    )
    return _cell(", ".join(f"`{option}{value}`" for option in action.option_strings) or f"`{value.strip()}`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def notebooks() -> dict[str, str]:
    """Page name to Markdown of each notebook: its text, code and recorded output."""
    return {
        f"notebooks/{path.stem}.md": _notebook(json.loads(path.read_text(encoding="utf-8")), path.name)
        for path in sorted((DOCS / "notebooks").glob("*.ipynb"))
    }


def _notebook(notebook: dict[str, Any], name: str) -> str:
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f"![](data:image/png;base64,{''.join(data['image/png']).strip()})")
            else:
                shown = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(f"```text\n{shown.rstrip()}\n```")
    return "\n\n".join([*parts, f"[Download this notebook]({name})"])
