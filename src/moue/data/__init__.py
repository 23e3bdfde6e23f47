"""Data sets: readers of every layout into one :class:`ImageTable`; votes, splits, balance, the synthetic set."""

from moue.data.holdout import hold_out_test
from moue.data.loading import load
from moue.data.splits import Split, deduplicated, stratified_split
from moue.data.table import SPLITS, ImageTable, LeftOut

__all__ = ["SPLITS", "ImageTable", "LeftOut", "Split", "deduplicated", "hold_out_test", "load", "stratified_split"]
