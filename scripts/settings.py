"""Write docs/settings.md from the docstrings of the configuration.

Usage: python scripts/settings.py
"""

from pathlib import Path

from moue.training.settings import page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
