"""Build docs/*.md, the README and the other pages beside it into HTML.

Usage: python scripts/docs.py OUT

Each page is one self-contained file; links between the Markdown files become links between the pages.
"""

import html
import re
import sys
from pathlib import Path

import markdown

ROOT = Path(__file__).resolve().parent.parent

#: Page name to its source, in the order of the menu.
FIRST = {"index": "docs/index.md"}
LAST = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md", "readme": "README.md"}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - moue</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }}
  nav a {{ margin-right: 1rem; }}
  pre, code {{ font: 14px/1.5 ui-monospace, monospace; }}
  pre {{ overflow-x: auto; padding: .8rem; border: 1px solid #8884; border-radius: 6px; }}
  table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
  th, td {{ border-bottom: 1px solid #8884; padding: .3rem .7rem; text-align: left; }}
</style>
<nav>{menu}</nav>
<main>
{body}
</main>
</html>
"""


def pages() -> dict[str, Path]:
    """Page name to the Markdown file that it is made of."""
    docs = {p.stem: p.relative_to(ROOT).as_posix() for p in sorted((ROOT / "docs").glob("*.md"))}
    return {name: ROOT / source for name, source in (FIRST | docs | LAST).items()}


def build(out: Path) -> list[Path]:
    """Write every page; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    sources = pages()
    names = {source.resolve(): name for name, source in sources.items()}
    texts = {name: source.read_text(encoding="utf-8") for name, source in sources.items()}
    titles = {name: _title(text, name) for name, text in texts.items()}
    menu = "".join(f'<a href="{name}.html">{html.escape(title)}</a>' for name, title in titles.items())
    written = []
    for name, text in texts.items():
        body = markdown.markdown(text, extensions=["tables", "fenced_code", "toc"], output_format="html")
        body = re.sub(r'href="([^":#]+)(#[^"]*)?"', lambda m, at=sources[name]: _link(m, at, names), body)
        path = out / f"{name}.html"
        path.write_text(PAGE.format(title=html.escape(titles[name]), menu=menu, body=body), encoding="utf-8")
        written.append(path)
    return written


def _title(text: str, name: str) -> str:
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    return heading.group(1).strip("` ") if heading else name


def _link(match: re.Match[str], source: Path, names: dict[Path, str]) -> str:
    target = (source.parent / match.group(1)).resolve()
    if target in names:
        return f'href="{names[target]}.html{match.group(2) or ""}"'
    # A file that is no page (a recipe, a table of results) is reached from site/ through the checkout around it.
    return f'href="../{target.relative_to(ROOT).as_posix()}"'


if __name__ == "__main__":
    made = build(Path(sys.argv[1]))
    print(f"{len(made)} pages: {made[0]}")
