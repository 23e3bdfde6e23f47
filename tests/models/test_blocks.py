from __future__ import annotations

import re

import pytest

from moue.models import NETWORKS
from moue.models.blocks import architecture
from moue.models.summary import describe


@pytest.mark.parametrize("name", list(NETWORKS))
def test_blocks_hold_all_weights_and_end_in_the_logits(name: str) -> None:
    found = architecture(name, 5)
    assert found.parameters == describe(name, 5)["parameters"] == sum(block.parameters for block in found.blocks)
    placed = [block for block in found.blocks if block.output != "–"]
    assert placed[-1].output == "5"
    assert 3 <= len(found.blocks) <= 40
    assert len(found.summary) > 40
    assert not re.search(r"\b(results|docs|benchmarks|scripts)/", found.summary), "no package has these files"


def test_blocks_are_in_the_order_of_the_pass_and_alike_ones_are_one() -> None:
    vit = architecture("vit-compact", 7, depth=3)
    assert [(block.kind, block.repeats) for block in vit.blocks[1:]] == [
        ("Layer", 3),
        ("LayerNorm", 1),
        ("fully connected", 1),
    ]
    assert vit.blocks[1].name == "layers.0 to layers.2"
    assert vit.blocks[1].output == "64×192"


def test_auxiliary_classifiers_are_no_blocks_and_options_count() -> None:
    names = [block.name for block in architecture("googlenet", 7).blocks]
    assert not [name for name in names if name.startswith("aux")]
    assert names.index("inceptions.3a") < names.index("inceptions.4a") < names.index("classifier")
    wide, usual = architecture("compact", 7, widths=[16, 32], blocks=[1]), architecture("compact", 7)
    assert wide.parameters < usual.parameters
    assert (usual.input, usual.inside) == ("1×48×48", None)
    assert architecture("face-resnet", 7).inside == "3×112×112"
