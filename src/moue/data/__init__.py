"""Data sets: readers of every layout into one :class:`ImageTable`; votes, splits, balance, the synthetic set."""

from moue.data.sources import load
from moue.data.splits import Split, stratified_split, twin_free
from moue.data.table import SPLITS, ImageTable, LeftOut

__all__ = ["SPLITS", "ImageTable", "LeftOut", "Split", "load", "stratified_split", "twin_free"]
