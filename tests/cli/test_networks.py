import json

from moue.cli.main import main
from moue.models import NETWORKS, summary
from moue.training.config import Config


def test_networks_lists_every_network(capsys):
    assert main(["networks", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(NETWORKS)
    assert all(row.keys() == {"name", "parameters", "trainable", "gflop", "input", "options"} for row in rows)
    assert all(0 < row["trainable"] <= row["parameters"] and row["gflop"] > 0 for row in rows)


def test_the_options_that_are_listed_can_be_set(capsys):
    assert main(["networks", "compact", "--format", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["options"] == {"widths": [32, 96, 192], "blocks": None, "dropout": 0.1, "space_to_depth": 2}
    changed = Config().override(
        ["model.network=compact", *(f"model.options.{k}={json.dumps(v)}" for k, v in row["options"].items())]
    )
    assert summary.describe("compact", **changed.model.options)["parameters"] == row["parameters"]
    assert main(["networks", "compact"]) == 0
    assert "  compact: widths=[32, 96, 192], blocks=null, dropout=0.1, space_to_depth=2\n" in capsys.readouterr().out


def test_a_wrong_name_is_one_sentence(capsys):
    assert main(["networks", "gogglenet"]) == 2
    captured = capsys.readouterr()
    assert "googlenet" in captured.err
    assert captured.out == ""
