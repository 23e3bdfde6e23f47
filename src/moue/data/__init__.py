"""Data sets: one :class:`ImageTable` from every format; FER+ votes, splits, class balance."""

from moue.data.duplicates import deduplicated
from moue.data.holdout import hold_out_test
from moue.data.loading import ReadingOptions, load
from moue.data.splits import Split, stratified_split
from moue.data.table import SPLITS, ImageTable, LeftOut

__all__ = [
    "SPLITS",
    "ImageTable",
    "LeftOut",
    "ReadingOptions",
    "Split",
    "deduplicated",
    "hold_out_test",
    "load",
    "stratified_split",
]
