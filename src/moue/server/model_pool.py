"""The recognizers of a server: opened once, shared by all requests."""

from __future__ import annotations

import threading
from typing import Any

from moue.errors import UnknownName, UsageError
from moue.labels import color
from moue.runtime.detect import Detector, open_detector
from moue.runtime.engine import Engine, open_model
from moue.runtime.recognizer import Recognizer
from moue.runtime.weights import ABOUT, list_models
from moue.server.settings import Settings

DETECTORS = ("centerface", "none")


class ModelPool:
    """Opens models by name when they are first used; safe to share between threads.

    Args:
        settings: its models are opened immediately.

    Raises:
        UnknownName: when there is no such model, detector or engine.
        ModelError: when a model or the detector is missing or damaged.
        MissingExtra: when model or engine need an extra that is not installed.
        UsageError: when two models have the same name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._detectors: dict[str, Detector] = {}
        self._engines: dict[str, Engine] = {}
        self._recognizers: dict[tuple[str, str, bool], Recognizer] = {}
        self._detector(settings.detector)
        for name in settings.models:
            engine = self._open_model(name)
            public = name if name in self._installed() else engine.spec.name
            if public in self._engines:
                raise UsageError(f"two models are named {public!r}. Give each its own name in the .json beside it.")
            self._engines[public] = engine
        self.default = next(iter(self._engines))

    def get(self, model: str | None = None, detector: str | None = None, *, video: bool = False) -> Recognizer:
        """The shared recognizer of a model and a detector.

        Args:
            model: name of a model, never a path; the server's default where None.
            detector: "centerface" or "none"; the server's default where None.
            video: whether it reads videos and cameras: see :meth:`Recognizer.for_video`.

        Raises:
            UnknownName: when there is no such model or detector.
            ModelError, MissingExtra: when it cannot be opened.
        """
        model = self.default if model is None else model
        detector = self._settings.detector if detector is None else detector
        with self._lock:
            key = (model, detector, video)
            if key not in self._recognizers:
                recognizer = Recognizer(
                    self._engine(model),
                    self._detector(detector),
                    optimize_for="throughput",
                    max_pixels=self._settings.max_pixels,
                )
                self._recognizers[key] = recognizer.for_video() if video else recognizer
            return self._recognizers[key]

    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``GET /v1/models``: the available models, the default first."""
        rows: list[dict[str, Any]] = []
        installed = self._installed()
        # A copy: other threads may open models in the meantime.
        for name, engine in list(self._engines.items()):
            spec = engine.spec.to_dict()
            keys = ("network", "labels", "size", "color", "parameters", "license", "scores")
            about = ABOUT.get(name) if name in installed else None
            rows.append({"name": name, "about": about, **{k: spec.get(k) for k in keys}})
        opened = {row["name"] for row in rows}
        for name, row in installed.items():
            if name not in opened:
                rows.append({k: v for k, v in row.items() if k not in ("path", "origin", "megabytes", "remark")})
        preselected = self._settings.preselected
        first = preselected if preselected in {row["name"] for row in rows} else self.default
        for row in rows:
            row["default"] = row["name"] == self.default
            row["preselected"] = row["name"] == first
            labels: list[str] = row["labels"]
            row["colors"] = {label: "#{:02x}{:02x}{:02x}".format(*color(label)) for label in labels}
        return rows

    def _installed(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in list_models() if row["remark"] is None}

    def _engine(self, name: str) -> Engine:
        if name not in self._engines:
            installed = self._installed()
            # Names of this list only: opening takes paths as well, and clients must not choose files.
            if name not in installed:
                raise UnknownName("model", name, {*self._engines, *installed})
            self._engines[name] = self._open_model(name)
        return self._engines[name]

    def _open_model(self, name: str) -> Engine:
        return open_model(name, engine=self._settings.engine, threads=self._settings.threads, optimize_for="throughput")

    def _detector(self, name: str) -> Detector:
        if name not in DETECTORS:
            raise UnknownName("detector", name, DETECTORS)
        if name not in self._detectors:
            settings = self._settings
            self._detectors[name] = open_detector(
                name, engine=settings.engine, threads=settings.threads, optimize_for="throughput"
            )
        return self._detectors[name]
