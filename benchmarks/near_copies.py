"""How many images of a validation part have a near copy in the rest of Training, and what keeping them together costs.

python benchmarks/near_copies.py fer2013.csv.zip
"""

from __future__ import annotations

import sys
import time

from moue.data import load, stratified_split
from moue.data.near_copies import near_copies
from moue.data.splits import Duplicates


def main(data: str) -> None:
    """Print both for parts of 5 and 20 %."""
    table = load(data)
    kinds: tuple[Duplicates, ...] = ("exact", "near")
    for fraction in (0.05, 0.2):
        for duplicates in kinds:
            start = time.process_time()
            split = stratified_split(table, fraction, duplicates=duplicates)
            seconds = time.process_time() - start
            found = near_copies(table.take(split.validation), table.take(split.train)).sum()
            print(f"{fraction:.0%}, {duplicates}: {found} of {len(split.validation):,}, {seconds:.1f} s to split")


if __name__ == "__main__":
    main(sys.argv[1])
