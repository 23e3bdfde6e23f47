"""``python -m moue`` is ``moue``."""

import sys

from moue.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
