"""Explains one face at a time, with any model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from moue.errors import MissingExtra, UnknownName, UsageError
from moue.explain.faithfulness import Faithfulness, deletion
from moue.explain.occlusion import Answer, occlusion
from moue.explain.regions import shares
from moue.labels import LabelSet
from moue.runtime.results import softmax
from moue.trained.open import Model, open_any, run_of
from moue.tta import averaged

Method = Literal["occlusion", "gradcam", "integrated-gradients"]
METHODS: tuple[Method, ...] = get_args(Method)

#: Images that are asked about at once.
BATCH = 64


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model gives a face a class."""

    label: str
    """The class that is explained."""
    probability: float
    """What the model gives it, 0 to 1."""
    method: Method
    heat: NDArray[np.float32]
    """``(S, S)``, over the model's input: above 0 speaks for the class, below 0 against it. With "occlusion" in
    probability, with "integrated-gradients" in logits, with "gradcam" of the largest."""
    trust: Faithfulness
    """How well the map stands its test."""
    areas: dict[str, float] | None = None
    """Shares of the evidence by part of the face; None where no landmarks are known."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, without the map."""
        row: dict[str, Any] = {
            "label": self.label,
            "probability": round(self.probability, 5),
            "method": self.method,
            "deletion": round(self.trust.deletion, 5),
            "random": round(self.trust.random, 5),
        }
        if self.areas is not None:
            row["areas"] = {name: round(share, 4) for name, share in self.areas.items()}
        return row


class Explainer:
    """Says which parts of a face an answer rests on.

    Args:
        model: as for :func:`moue.trained.open.open_any`.
        method: "occlusion" asks the model as it answers, with its views and temperature; "gradcam" and
            "integrated-gradients" look into a run's network, at the face as it is.

    Raises:
        UnknownName: for another method or model.
        UsageError: for a method that looks inside, and a model that is no run.
        ModelError, MissingExtra: as :func:`moue.trained.open.open_any`.
    """

    def __init__(self, model: str | Path = "default", method: Method = "occlusion") -> None:
        if method not in METHODS:
            raise UnknownName("method", str(method), METHODS)
        self.method = method
        self.network: Any = None
        if method == "occlusion":
            self.model: Model = open_any(model)
        else:
            if run_of(model) is None:
                raise UsageError(
                    f"{method} looks into a network, and needs a run folder. Got {str(model)!r}, whose graph only "
                    "answers: take --method occlusion."
                )
            try:
                from moue.models.load import load_run
            except ModuleNotFoundError as error:
                raise MissingExtra("torch", "train") from error
            run = load_run(model)
            self.model, self.network = run, run.network
        self.spec = self.model.spec

    def target(self, label: str) -> int:
        """The output of a class, by any of its names.

        Raises:
            UnknownName: when the model has no such class.
        """
        return LabelSet(self.spec.name, self.spec.labels).index(label)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of uint8 ``(N, C, S, S)``, as the model answers: ``(N, K)``."""
        return softmax(averaged(self.model.logits, images, self.spec.views, BATCH), self.spec.temperature)

    def explain(
        self, image: NDArray[np.uint8], label: str | None = None, landmarks: NDArray[np.floating] | None = None
    ) -> Explanation:
        """Explain one answer.

        Args:
            image: uint8 ``(C, S, S)``, 0..255, a face as the model takes it.
            label: the class to explain; the most probable one where None.
            landmarks: ``(5, 2)`` x, y in pixels of ``image``: both eyes, nose, both mouth corners.

        Raises:
            UnknownName: when the model has no such class.
            UsageError: when the image is not as the model takes it, or the method cannot look into the network.
        """
        asked = None if label is None else self.target(label)
        given = self.probabilities(np.asarray(image)[None])[0]
        target = int(given.argmax()) if asked is None else asked

        def answer(images: NDArray[np.uint8]) -> NDArray[np.floating]:
            return self.probabilities(images)[:, target]

        heat = self._heat(image, target, answer)
        return Explanation(
            self.spec.labels[target],
            float(given[target]),
            self.method,
            heat,
            deletion(answer, image, heat),
            None if landmarks is None else shares(heat, landmarks),
        )

    def _heat(self, image: NDArray[np.uint8], target: int, answer: Answer) -> NDArray[np.float32]:
        if self.method == "occlusion":
            return occlusion(answer, image)
        # Only here: these modules load torch.
        from moue.explain.gradients import gradcam, integrated_gradients

        look = gradcam if self.method == "gradcam" else integrated_gradients
        return look(self.network, image, target)
