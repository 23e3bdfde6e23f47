"""The larger trained networks of moue: a folder of ONNX graphs, each with its JSON spec beside it.

This package has no other content and needs nothing; ``moue models`` lists what is in it.
"""

from pathlib import Path

__all__ = ["__version__", "folder"]

__version__ = "0.1.0"


def folder() -> Path:
    """The folder that holds ``<name>.onnx`` and ``<name>.json`` for each model."""
    return Path(__file__).parent / "models"
