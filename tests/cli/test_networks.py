import json

from moue.cli.main import main
from moue.models import NETWORKS


def test_networks_lists_every_network(capsys):
    assert main(["networks", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(NETWORKS)
    assert all(row.keys() == {"name", "parameters", "trainable", "gflop", "input"} for row in rows)
    assert all(0 < row["trainable"] <= row["parameters"] and row["gflop"] > 0 for row in rows)


def test_a_wrong_name_is_one_sentence(capsys):
    assert main(["networks", "gogglenet"]) == 2
    told = capsys.readouterr()
    assert "googlenet" in told.err
    assert told.out == ""
