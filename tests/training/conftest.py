"""What the tests of training share."""

from __future__ import annotations

import pytest

from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable


@pytest.fixture(scope="session")
def table() -> ImageTable:
    """Drawn faces."""
    return synthetic(900, seed=1)
