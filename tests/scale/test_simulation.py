"""The simulation behind docs/scale.md: each image counts once, and more workers help until the store is full."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "scale_simulation.py"


@pytest.fixture(scope="module")
def simulation() -> Any:
    spec = importlib.util.spec_from_file_location("scale_simulation", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules["scale_simulation"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("deaths", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("images", [1, 999, 100_003])
@pytest.mark.parametrize("workers", [1, 7, 500])
def test_each_image_is_scored_once(simulation: Any, images: int, workers: int, deaths: float) -> None:
    run = simulation.Run(images, shard_images=1000, part_images=300, workers=workers, deaths_per_hour=deaths)
    outcome = simulation.simulate(run, seed=1)
    assert outcome.scored == images
    assert outcome.parts == sum(-(-min(1000, images - start) // 300) for start in range(0, images, 1000))
    assert bool(outcome.deaths) == bool(outcome.lost_share)
    shares = outcome.reading_share + outcome.lost_share + outcome.idle_share
    working = images * run.core_seconds / (outcome.hours * 3600 * min(workers, -(-images // 1000)))
    assert shares + working == pytest.approx(1, abs=0.02)


def test_time_is_the_work_over_the_workers_until_the_store_is_full(simulation: Any) -> None:
    run = simulation.Run(10_000_000, latency_seconds=0, deaths_per_hour=0, workers=10, stream_mb_per_second=1e9)
    hours = {n: simulation.simulate(replace(run, workers=n)).hours for n in (10, 20, 100_000)}
    assert hours[10] == pytest.approx(10_000_000 * run.core_seconds / 10 / 3600, rel=0.01)
    assert hours[20] == pytest.approx(hours[10] / 2, rel=0.01)
    full = replace(run, store_gb_per_second=0.001, workers=20)
    assert simulation.simulate(full).hours == pytest.approx(10_000_000 * 1e5 / 1e6 / 3600, rel=0.01)


def test_deaths_cost_time_and_the_same_seed_gives_the_same_run(simulation: Any) -> None:
    run = simulation.Run(2_000_000, workers=50, deaths_per_hour=2.0)
    first = simulation.simulate(run, seed=3)
    assert simulation.simulate(run, seed=3) == first
    assert simulation.simulate(run, seed=4) != first
    assert first.hours > simulation.simulate(replace(run, deaths_per_hour=0)).hours
    # Smaller parts lose less.
    assert simulation.simulate(replace(run, part_images=200), seed=3).lost_share < first.lost_share
