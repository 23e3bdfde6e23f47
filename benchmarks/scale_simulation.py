"""How long ``moue score`` takes over a billion images: a simulation of its workers, their store and their deaths.

    python benchmarks/scale_simulation.py

Each worker takes one shard after the other. For each part of it, it reads the part's bytes, which takes the store's
latency and its bandwidth, divided among all that read; then it computes, with nothing read meanwhile, as ``moue score``
does. A worker dies at random times, as machines that may be taken away do; the part that it was at is lost, and another
worker begins with it after a restart. A part that is written is never made again. The run ends with the last part.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Run:
    """What is to be scored, and by what."""

    images: int = 1_000_000_000
    shard_images: int = 10_000
    """Images of a shard, which one worker reads."""
    part_images: int = 2_000
    """Images of a part: what a death loses at most."""
    image_kb: float = 100.0
    core_seconds: float = 0.1
    """Of one core, for an image: decoding, detection, classification."""
    workers: int = 1000
    """Of a core each."""
    store_gb_per_second: float = 10.0
    """Bandwidth of the store and the network, for all together."""
    stream_mb_per_second: float = 80.0
    """Of one worker, at most."""
    latency_seconds: float = 0.05
    """Before the first byte of a part."""
    deaths_per_hour: float = 0.02
    """Of one worker."""
    restart_seconds: float = 60.0
    """Until another worker is in its place, with its model open."""


@dataclass
class Outcome:
    """What became of it."""

    hours: float = 0.0
    scored: int = 0
    """Images with a row; each counts as often as it has one."""
    parts: int = 0
    deaths: int = 0
    lost_share: float = 0.0
    """Of the workers' time, what was computed or read and lost, and restarts."""
    reading_share: float = 0.0
    """Of the workers' time, waiting for bytes."""
    idle_share: float = 0.0
    """Of the workers' time, after their last shard, as others still work."""


def simulate(run: Run, seed: int = 0) -> Outcome:
    """Simulate a run, one event a part.

    Args:
        run: what is to be scored.
        seed: of the deaths.
    """
    rng = random.Random(seed)
    outcome = Outcome()
    shards = [(shard, 0) for shard in range(-(-run.images // run.shard_images))]
    shards.reverse()
    # Units whose worker died go first: (shard, images of it that have rows).
    waiting: list[tuple[int, int]] = []
    free = [(0.0, worker) for worker in range(min(run.workers, len(shards)))]
    heapq.heapify(free)
    # A worker's event: (time at which it has done what it is at, worker, shard, images of the shard that are done).
    busy: list[tuple[float, int, int, int]] = []
    lost = reading = end = 0.0
    death = {worker: _next_death(run, rng, 0.0) for _, worker in free}
    while free or busy:
        while free and (waiting or shards) and (not busy or free[0][0] <= busy[0][0]):
            time, worker = heapq.heappop(free)
            shard, done = waiting.pop() if waiting else shards.pop()
            heapq.heappush(busy, (time, worker, shard, done))
        if not busy:
            break
        time, worker, shard, done = heapq.heappop(busy)
        end = max(end, time)
        left = min(run.shard_images, run.images - shard * run.shard_images) - done
        if left <= 0:
            heapq.heappush(free, (time, worker))
            continue
        images = min(run.part_images, left)
        fetch = _fetch_seconds(run, images, len(busy) + 1)
        takes = fetch + images * run.core_seconds
        if death[worker] < time + takes:
            outcome.deaths += 1
            at = max(death[worker], time)
            lost += at - time + run.restart_seconds
            death[worker] = _next_death(run, rng, at + run.restart_seconds)
            waiting.append((shard, done))
            heapq.heappush(free, (at + run.restart_seconds, worker))
            continue
        reading += fetch
        outcome.scored += images
        outcome.parts += 1
        heapq.heappush(busy, (time + takes, worker, shard, done + images))
    total = max(end, 1e-9) * min(run.workers, -(-run.images // run.shard_images))
    computed = outcome.scored * run.core_seconds
    outcome.hours = end / 3600
    outcome.lost_share = lost / total
    outcome.reading_share = reading / total
    outcome.idle_share = max(0.0, 1 - (lost + reading + computed) / total)
    return outcome


def _next_death(run: Run, rng: random.Random, now: float) -> float:
    return now + 3600 * rng.expovariate(run.deaths_per_hour) if run.deaths_per_hour else float("inf")


def _fetch_seconds(run: Run, images: int, workers: int) -> float:
    """Seconds to read a part while so many workers are at work.

    Workers read for a part of their time only. The store is busy when all of them together ask for more than it has:
    each then gets its share of the bandwidth as if all read all the time that they do not compute.
    """
    mb = images * run.image_kb / 1e3
    alone = mb / run.stream_mb_per_second
    compute = images * run.core_seconds
    store = mb * workers / (run.store_gb_per_second * 1e3)
    # A part cannot come round in less time than the store takes for one part of every worker.
    return run.latency_seconds + max(alone, store - compute)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core-seconds", type=float, nargs="+", default=[0.005, 0.1, 0.3])
    parser.add_argument("--workers", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    for cost in args.core_seconds:
        for workers in args.workers:
            run = replace(Run(), core_seconds=cost, workers=workers)
            rows.append(asdict(run) | asdict(simulate(run, args.seed)))
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print("| core-seconds an image | workers | hours | reading | lost | idle | deaths |\n|---|---|---|---|---|---|---|")
    for row in rows:
        shares = " | ".join(f"{row[name]:.1%}" for name in ("reading_share", "lost_share", "idle_share"))
        print(f"| {row['core_seconds']} | {row['workers']:,} | {row['hours']:,.1f} | {shares} | {row['deaths']:,} |")


if __name__ == "__main__":
    main()
