"""Connecting to a Ray cluster that is not there."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from moue.errors import UsageError
from moue.scale.cluster import connect


class Ray:
    """Notes how it is started."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.options = error, dict[str, Any]()

    def init(self, **options: Any) -> None:
        self.options = options
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    ray = Ray()
    with pytest.raises(UsageError, match=f"no Ray cluster at '{address}': .*refused.* unset it for one of"):
        connect(ray)
    assert not ray.options


def test_what_ray_says_of_an_address_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(UsageError, match="no Ray cluster at 'nonsense': Invalid address format"):
        connect(Ray(ValueError("Invalid address format: nonsense")))
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(UsageError, match="no Ray cluster starts on this machine: no memory"):
        connect(Ray(RuntimeError("no memory")))


def test_options_of_a_cluster_of_this_machine_are_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    connect(ray := Ray(), num_cpus=2)
    assert ray.options["num_cpus"] == 2
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    connect(ray := Ray(), num_cpus=2)
    assert "num_cpus" not in ray.options
