"""Write scikit-image's photo of the astronaut Eileen Collins (NASA, public domain) for `make demo`.

Usage: python scripts/astronaut.py PATH
"""

import sys
from pathlib import Path

from PIL import Image
from skimage import data


def main(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
