"""A model card in Markdown: what the model is, its training, scores and limitations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moue.evaluation.metrics import Evaluation
from moue.evaluation.robustness import Robustness
from moue.report.format import join, majority, not_above_majority, percent, with_error
from moue.report.robustness import robustness_lines
from moue.spec import VIEWS, ModelSpec

LIMITS = """\
- It names the expression that a face shows to onlookers, not what a person feels: people show feelings they do not have
  and have feelings they do not show. Do not decide about a person by it (hiring, school, police, credit, insurance,
  health), and ask people before reading their faces.
{data}
- Small, turned, covered or badly lit faces, drawings and masks are read worse.
- {calibration}
"""

#: What its probabilities are worth, by whether a temperature was fitted.
CALIBRATED = "Its probabilities are calibrated for data like the training data alone."
NOT_CALIBRATED = "Its probabilities are not calibrated: too few images were held out."

#: What is known of FER-2013, for models whose weights come from its images.
FER2013_LIMITS = """\
- FER-2013 holds images from web searches with noisy labels, and says nothing of age, sex or skin; whether the scores
  hold equally for all groups of people is not known from it."""

#: What is not known of any other set.
OTHER_LIMITS = """\
- Whether the scores hold for other people, cameras and light than those of {name}, and equally for all groups of
  people, is not known from it."""


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
        "## Data",
        "",
        *(_data(spec.trained) or ["Not recorded."]),
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
    lines += ["", "## Robustness", "", *_robustness(spec, evaluation)]
    if remarks := spec.trained.get("remarks"):
        lines += ["", "Remarks:", "", *(f"- {remark}." for remark in remarks)]
    limits = {"data": _limits_of_data(spec), "calibration": NOT_CALIBRATED if spec.temperature == 1 else CALIBRATED}
    return "\n".join([*lines, "", "## Limitations", "", LIMITS.format(**limits)])


def _robustness(spec: ModelSpec, evaluation: Evaluation | None) -> list[str]:
    """From the evaluation where it looked at corrupted images, else what the spec has on record."""
    if evaluation is not None and evaluation.robustness is not None:
        return robustness_lines(evaluation.robustness, f"images of {_words(evaluation.split)} in `{evaluation.data}`")
    if not spec.robustness:
        return ["Not measured."]
    split = _words(str(spec.robustness.get("split", "a test set")))
    return robustness_lines(Robustness.from_record(spec.robustness), f"images of {split}")


def _limits_of_data(spec: ModelSpec) -> str:
    # The license says what binds the weights, of whatever they started or learned from, too.
    bound = "FER-2013" in spec.license
    names = [f"`{data.get('name')}`" for data in _sets(spec.trained) if not data.get("fer2013", bound)]
    lines = [FER2013_LIMITS] if bound else []
    if names or not bound:
        lines.append(OTHER_LIMITS.format(name=join(list(dict.fromkeys(names)) or ["the training data"])))
    return "\n".join(lines)


def _sets(trained: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is recorded of the data set, or of those of an ensemble's members; each once."""
    members = [member.get("trained", {}) for member in trained.get("members", [])]
    found = [data for part in (trained, *members) if (data := part.get("data"))]
    return [data for i, data in enumerate(found) if data not in found[:i]]


def _data(trained: Mapping[str, Any]) -> list[str]:
    """A line for each data set: its name, how many images of which classes, and how many were held out."""
    lines = []
    for data in _sets(trained):
        counts = data.get("classes") or dict.fromkeys(data.get("labels", []), None)
        classes = ", ".join(name if n is None else f"{name} {n:,}" for name, n in counts.items())
        held_out, split = data.get("validation") or 0, data.get("split") or {}
        part = f"{held_out:,} more were held out for validation" if held_out else "none was held out for validation"
        near = ", data.duplicates=near" if split.get("duplicates") == "near" else ""
        drawn = f" (data.split_seed={split.get('seed', 0)}, data.fold={split.get('fold', 0)}{near})" if held_out else ""
        lines.append(
            f"- `{data.get('name')}`: trained on {data.get('train') or 0:,} images ({classes}); {part}{drawn}. "
            f"Fingerprint `{data.get('fingerprint')}`." + _noise(data.get("noisy_labels"))
        )
    return lines


def _noise(found: Mapping[str, Any] | None) -> str:
    """What was done with the labels that annotators do not share."""
    if not found:
        return ""
    return (
        f" Of the training images {found.get('rows', 0):,} had labels that FER+'s annotators do not share: "
        f"{found.get('treatment')}."
    )


def _scores(e: Evaluation) -> list[str]:
    views = f", each averaged {VIEWS[e.views]}" if e.views > 1 else ""
    deduplicated = ""
    if (d := e.deduplicated) is not None and d.n < e.n:
        score = with_error(d.accuracy, d.accuracy_se)
        deduplicated = f"; {score} on the {d.n:,} without an exact duplicate in Training"
    rows = [
        f"| {name} | {c.n:,} | {percent(c.precision)} | {percent(c.recall)} | {percent(c.f1)} |"
        for name, c in e.per_class.items()
    ]
    return [
        f"Accuracy on the {e.n:,} images of {_words(e.split)} in `{e.data}`{views}: "
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


def _provenance(trained: Mapping[str, Any]) -> list[str]:
    """What made it, a line each, without what the card has elsewhere."""
    elsewhere = ("curves", "data", "remarks", "members", "gain")
    lines = [f"- {_words(key)}: {_value(value)}" for key, value in trained.items() if key not in elsewhere]
    members = [f"{member.get('name')} (weight {member.get('weight', 1):.2g})" for member in trained.get("members", [])]
    summary = trained.get("gain", {}).get("summary")
    return [
        *lines,
        *([f"- members: {', '.join(members)}"] if members else []),
        *([f"- gain: {summary}"] if summary else []),
    ]


def _value(value: object) -> str:
    """A value of the record as text."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")
