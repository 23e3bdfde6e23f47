"""A model card in Markdown: what the model is, its training, scores and limitations."""

from __future__ import annotations

from moue.evaluation.metrics import Evaluation
from moue.report.format import majority, not_above_majority, percent, with_error
from moue.spec import VIEWS, ModelSpec

LIMITS = """\
- It names the expression that a face shows to onlookers, not what a person feels: people show feelings they do not have
  and have feelings they do not show. Do not decide about a person by it (hiring, school, police, credit, insurance,
  health), and ask people before reading their faces.
- FER-2013 and sets like it hold images from web searches with noisy labels, and say nothing of age, sex or skin;
  whether the scores hold equally for all groups of people is not known from them.
- Small, turned, covered or badly lit faces, drawings and masks are read worse. Probabilities are calibrated only for
  data like the training data.
"""


def model_card(spec: ModelSpec, evaluation: Evaluation | None = None) -> str:
    """The card of a trained model.

    Args:
        spec: the model's spec.
        evaluation: its scores on some split; without them the card lists those that the spec carries.
    """
    color = "one channel" if spec.color == "gray" else "RGB"
    lines = [
        f"# {spec.name}",
        "",
        f"A classifier of facial expressions: the network `{spec.network}`"
        + (f", {spec.parameters:,} parameters" if spec.parameters else "")
        + f". It takes uint8 images of {spec.size}×{spec.size} pixels ({color}) and distinguishes: "
        + f"{', '.join(spec.labels)}.",
        "",
        "## Training",
        "",
        *(_provenance(spec.trained) or ["Not recorded."]),
        f"- license: {spec.license or 'not stated'}",
        *([f"- sha256: `{spec.sha256}`"] if spec.sha256 else []),
        "",
        "## Scores",
        "",
    ]
    if evaluation is not None:
        lines += _scores(evaluation)
    elif spec.scores:
        lines += [f"- {_words(key)}: {value:.4f}" for key, value in spec.scores.items()]
    else:
        lines.append("Not measured.")
    return "\n".join([*lines, "", "## Limitations", "", LIMITS])


def _scores(e: Evaluation) -> list[str]:
    views = f", each averaged {VIEWS[e.views]}" if e.views > 1 else ""
    deduplicated = ""
    if (d := e.deduplicated) is not None:
        score = with_error(d.accuracy, d.accuracy_se)
        deduplicated = f"; {score} on the {d.n:,} without an exact duplicate in Training"
    rows = [
        f"| {name} | {c.n:,} | {percent(c.precision)} | {percent(c.recall)} | {percent(c.f1)} |"
        for name, c in e.per_class.items()
    ]
    return [
        f"Accuracy on the {e.n:,} images of {e.split}{views}: "
        f"**{with_error(e.accuracy, e.accuracy_se)}** (one standard error){deduplicated}. "
        + (f"For comparison, {majority(e)}." if e.above_majority else not_above_majority(e)),
        "",
        f"Balanced accuracy {e.balanced_accuracy:.1%}, macro F1 {e.macro_f1:.1%}, top two {e.top2:.1%}, negative"
        f" log-likelihood {e.nll:.3f}, expected calibration error {e.ece:.1%}; of the 80 % most confident predictions"
        f" {e.accuracy_at_80:.1%} are right.",
        "",
        "| class | images | precision | recall | F1 |",
        "|---|---:|---:|---:|---:|",
        *rows,
    ]


def _provenance(trained: dict[str, object]) -> list[str]:
    """What made it, a line each, without the curves."""
    return [f"- {_words(key)}: {_value(value)}" for key, value in trained.items() if key != "curves"]


def _value(value: object) -> str:
    """A value of the record as text, without what is nested twice."""
    if isinstance(value, dict):
        return ", ".join(f"{_words(key)} {part}" for key, part in value.items() if not isinstance(part, (list, dict)))
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")
