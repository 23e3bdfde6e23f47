"""Explains one face at a time, with any model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from moue.errors import MissingExtra, UnknownName, UsageError, quoted
from moue.explain.faithfulness import Faithfulness, deletion
from moue.explain.occlusion import ClassProbability, occlusion
from moue.explain.regions import region_shares
from moue.labels import LabelSet
from moue.runtime.results import class_probabilities
from moue.trained.open import Model, open_any, run_of
from moue.tta import tta_logits

Method = Literal["occlusion", "gradcam", "integrated-gradients"]
METHODS: tuple[Method, ...] = get_args(Method)

#: Images that go through the model at once.
BATCH = 64


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a model's prediction of a class for a face depends on."""

    label: str
    """The class that is explained."""
    probability: float
    """Of the class, 0 to 1."""
    method: Method
    heatmap: NDArray[np.float32]
    """``(S, S)``, over the model's input: above 0 is evidence for the class, below 0 against it. With "occlusion" in
    probability, with "integrated-gradients" in logits, with "gradcam" as fractions of the largest."""
    faithfulness: Faithfulness
    """The result of the deletion test."""
    regions: dict[str, float] | None = None
    """Shares of the evidence by region of the face; None without landmarks."""

    @property
    def remark(self) -> str | None:
        """What the deletion test says against the heatmap; None where it passes."""
        deletion, random = self.faithfulness
        return None if deletion < random else "the heatmap is no better than a random one"

    def to_dict(self) -> dict[str, Any]:
        """Plain types, without the heatmap."""
        row: dict[str, Any] = {
            "label": self.label,
            "probability": round(self.probability, 5),
            "method": self.method,
            "deletion": round(self.faithfulness.deletion, 5),
            "random": round(self.faithfulness.random, 5),
            "remark": self.remark,
        }
        if self.regions is not None:
            row["regions"] = {name: round(share, 4) for name, share in self.regions.items()}
        return row


class Explainer:
    """Finds which parts of a face a prediction depends on.

    Args:
        model: as for :func:`moue.trained.open.open_any`.
        method: "occlusion" uses the model's predictions, with its views and temperature; "gradcam" and
            "integrated-gradients" use the gradients of a run's network, for a single view.

    Raises:
        UnknownName: for another method or model.
        UsageError: for a method that needs gradients, and a model that is no run.
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
                    f"{method} needs a run folder, for its gradients. Got {quoted(str(model))} instead: take --method "
                    "occlusion."
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
        """The model's class probabilities ``(N, K)`` of images, uint8 ``(N, C, S, S)``."""
        return class_probabilities(
            tta_logits(self.model.logits, images, self.spec.views, BATCH, self.spec.crop_size), self.spec
        )

    def explain(
        self, image: NDArray[np.uint8], label: str | None = None, landmarks: NDArray[np.floating] | None = None
    ) -> Explanation:
        """Explain one prediction.

        Args:
            image: uint8 ``(C, S, S)``, 0..255, a face in the model's size and color.
            label: the class to explain; the most probable one where None.
            landmarks: ``(5, 2)`` x, y in pixels of ``image``: both eyes, nose, both mouth corners.

        Raises:
            UnknownName: when the model has no such class.
            UsageError: when the image has another size or color, or the method does not suit the network.
        """
        requested = None if label is None else self.target(label)
        probabilities = self.probabilities(np.asarray(image)[None])[0]
        target = int(probabilities.argmax()) if requested is None else requested

        def probability(images: NDArray[np.uint8]) -> NDArray[np.floating]:
            return self.probabilities(images)[:, target]

        heatmap = self._heatmap(image, target, probability)
        return Explanation(
            self.spec.labels[target],
            float(probabilities[target]),
            self.method,
            heatmap,
            deletion(probability, image, heatmap),
            None if landmarks is None else region_shares(heatmap, landmarks),
        )

    def _heatmap(self, image: NDArray[np.uint8], target: int, probability: ClassProbability) -> NDArray[np.float32]:
        if self.method == "occlusion":
            return occlusion(probability, image)
        # Only here: these modules load torch.
        from moue.explain.gradients import gradcam, integrated_gradients

        attribute = gradcam if self.method == "gradcam" else integrated_gradients
        return attribute(self.network, image, target)
