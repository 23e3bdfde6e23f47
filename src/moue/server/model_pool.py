"""The recognizers of a server: opened once, shared by all requests."""

from __future__ import annotations

import threading
from typing import Any

from moue.errors import UnknownName, UsageError
from moue.labels import color
from moue.runtime.detect import Detector, open_detector
from moue.runtime.engine import Engine, open_model
from moue.runtime.recognizer import Recognizer
from moue.runtime.weights import list_models
from moue.server.settings import Settings

DETECTORS = ("centerface", "none")


class ModelPool:
    """Opens models by name when they are first asked for; safe to share between threads.

    Args:
        settings: its models are opened at once.

    Raises:
        UnknownName: when there is no such model, detector or engine.
        ModelError: when a model or the detector is missing or damaged.
        MissingExtra: when model or engine are in an extra that is not installed.
        UsageError: when two of the models have one name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._detectors: dict[str, Detector] = {}
        self._engines: dict[str, Engine] = {}
        self._recognizers: dict[tuple[str, str, bool], Recognizer] = {}
        self._find(settings.detector)
        for name in settings.models:
            engine = self._open(name)
            public = name if name in self._installed() else engine.spec.name
            if public in self._engines:
                raise UsageError(f"two models are named {public!r}. Give each its own name in the .json beside it.")
            self._engines[public] = engine
        self.default = next(iter(self._engines))

    def get(self, model: str | None = None, detector: str | None = None, *, videos: bool = False) -> Recognizer:
        """The recognizer of a model and a detector, the server's own where None; always the same one.

        ``videos`` is for videos and cameras, whose frames come by the dozen: see :meth:`Recognizer.for_video`.

        Raises:
            UnknownName: for a name that is not on the shelf; paths never are.
            ModelError, MissingExtra: when it cannot be opened.
        """
        model = self.default if model is None else model
        detector = self._settings.detector if detector is None else detector
        with self._lock:
            key = (model, detector, videos)
            if key not in self._recognizers:
                recognizer = Recognizer(
                    self._engine(model), self._find(detector), many=True, max_pixels=self._settings.max_pixels
                )
                self._recognizers[key] = recognizer.for_video() if videos else recognizer
            return self._recognizers[key]

    def rows(self) -> list[dict[str, Any]]:
        """What ``GET /v1/models`` says: the models that can be asked for, the default first."""
        rows: list[dict[str, Any]] = []
        # A copy: other threads may open models meanwhile.
        for name, engine in list(self._engines.items()):
            spec = engine.spec.to_dict()
            keys = ("network", "labels", "size", "color", "parameters", "license", "scores")
            rows.append({"name": name, **{k: spec.get(k) for k in keys}})
        open_already = {row["name"] for row in rows}
        for name, found in self._installed().items():
            if name not in open_already:
                rows.append({k: v for k, v in found.items() if k not in ("path", "origin", "megabytes", "remark")})
        for row in rows:
            row["default"] = row["name"] == self.default
            labels: list[str] = row["labels"]
            row["colors"] = {label: "#{:02x}{:02x}{:02x}".format(*color(label)) for label in labels}
        return rows

    def _installed(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in list_models() if row["remark"] is None}

    def _engine(self, name: str) -> Engine:
        if name not in self._engines:
            installed = self._installed()
            # Only names of this list are opened: find_model would take a path as well.
            if name not in installed:
                raise UnknownName("model", name, {*self._engines, *installed})
            self._engines[name] = self._open(name)
        return self._engines[name]

    def _open(self, name: str) -> Engine:
        return open_model(name, engine=self._settings.engine, threads=self._settings.threads, many=True)

    def _find(self, name: str) -> Detector:
        if name not in DETECTORS:
            raise UnknownName("detector", name, DETECTORS)
        if name not in self._detectors:
            settings = self._settings
            self._detectors[name] = open_detector(name, engine=settings.engine, threads=settings.threads, many=True)
        return self._detectors[name]
