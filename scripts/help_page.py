"""Write docs/help.md as the help of the page that `moue serve` serves, which works offline.

Usage: python scripts/help_page.py [OUT]
"""

import sys
from pathlib import Path

import markdown

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "src" / "moue" / "server" / "static" / "help.html"

PAGE = """<!doctype html>
<!-- Made of docs/help.md by scripts/help_page.py, which `make docs` runs. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>moue · help</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="style.css">
</head>
<body>
<main class="help">
<p><a href="./">Back to the page</a></p>
{body}
</main>
</body>
</html>
"""


def build() -> str:
    """The page."""
    text = (ROOT / "docs" / "help.md").read_text(encoding="utf-8")
    body = markdown.markdown(text, extensions=["tables", "fenced_code", "toc"], output_format="html")
    # A table that is wider than a phone scrolls by itself, with the keyboard too.
    body = body.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    return PAGE.format(body=body)


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else OUT).write_text(build(), encoding="utf-8")
