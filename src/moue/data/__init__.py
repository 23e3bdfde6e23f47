"""Data sets: readers of every layout into one :class:`ImageTable`; votes, splits, balance, the synthetic set."""

from moue.data.holdout import hold_out_test
from moue.data.sources import load
from moue.data.splits import Split, stratified_split, twin_free
from moue.data.table import SPLITS, ImageTable, LeftOut

__all__ = ["SPLITS", "ImageTable", "LeftOut", "Split", "hold_out_test", "load", "stratified_split", "twin_free"]
