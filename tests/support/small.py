"""A configuration that trains in a second."""

from __future__ import annotations

from moue.training.config import Config

SMALL = Config().override(
    [
        "model.options={widths: [8, 16], blocks: [1]}",
        "optim.epochs=3",
        "optim.lr=0.003",
        "optim.batch_size=64",
        "optim.ema=0.9",
        "optim.schedule=onecycle",
        "optim.warmup=0.2",
        "optim.keep=last",
        "run.threads=1",
        "run.precision=fp32",  # alike on every machine
    ]
)
