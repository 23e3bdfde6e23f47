"""`moue ensemble KIND …`: rank, vote, stack, bag, boost, concat and hybrid."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from moue.cli.dataset import add_dataset, read_for, typed_options
from moue.cli.ensemble_result import ALONE, PERCENT, UNKNOWN, print_ensemble
from moue.cli.export import check_weights, weights_of
from moue.cli.numbers import real, whole
from moue.cli.output import add_format, exit_code, note_shadowed_runs, write
from moue.cli.progress import Progress
from moue.cli.recipe import add_recipe, add_training, read_recipe, read_training
from moue.ensembles.classifiers import CLASSIFIERS
from moue.errors import UsageError, quoted, require

if TYPE_CHECKING:
    from moue.data.table import ImageTable
    from moue.spec import ModelSpec
    from moue.training.run_folder import Run

T = TypeVar("T")

#: Of the table of `boost`.
ROUND_TITLES = {
    "error": "weighted error",
    "weight": "vote's weight",
    "train_accuracy": "training accuracy",
    "validation": "held-out accuracy",
    "balanced_accuracy": "held-out balanced accuracy",
    "effective_rows": "effective rows",
}
ROUND_NOTES = (
    "",
    "Weighted error: share of the training rows that the round gets wrong, each counted with its weight; the training",
    "accuracy counts each once. Effective rows: how many rows of equal weight would be as much to learn from.",
)

MEMBERS = "run folders, .onnx files or names of `moue models`"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of each kind."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    rank = _kind(kinds, "rank", _rank, "score every average of some models on the rows that all held out")
    rank.add_argument("members", nargs="+", metavar="MODEL", help=f"2 to 12 {MEMBERS}")
    add_dataset(rank, "the set that they were trained on", required=True)
    _add_unseen(rank)
    rank.add_argument(
        "--top", type=whole(1), default=10, metavar="N", help="how many of the subsets to list (default: 10)"
    )
    vote = _kind(kinds, "vote", _vote, "average models, or let them vote, as one file")
    _add_members(vote, "the set that they were trained on, to calibrate on the rows that all held out", required=False)
    vote.add_argument("--majority", action="store_true", help="count each model's likeliest class, not the mean logits")
    weights = vote.add_mutually_exclusive_group()
    weights.add_argument("--weights", type=weights_of, metavar="W,W,…", help="of the models (default: equal)")
    weights.add_argument("--fit", action="store_true", help="fit them by log loss on the held-out rows of --data")
    stack = _kind(kinds, "stack", _stack, "fit a logistic regression on the models' logits for rows that all held out")
    _add_members(stack, "the set that they were trained on", required=True)
    bag = _kind(kinds, "bag", _bag, "train members of a recipe on bootstrap samples, and average them")
    add_recipe(bag, "gets the members' runs and ensemble.onnx")
    bag.add_argument("--members", type=whole(2, 100), default=5, metavar="N", help="how many (default: 5)")
    boost = _kind(kinds, "boost", _boost, "train a recipe in rounds, each on what those before it got wrong (SAMME)")
    add_recipe(boost, "gets the rounds' runs, their weights and ensemble.onnx")
    boost.add_argument("--rounds", type=whole(2, 100), default=5, metavar="N", help="how many at most (default: 5)")
    boost.add_argument(
        "--learning-rate",
        type=real(0, 1, exclusive=True),
        default=1.0,
        metavar="R",
        help="factor of each round's vote, and of how far it changes the weights, above 0 to 1 (default: 1); less suits"
        " labels of which many are wrong. That of the optimizer is --set optim.lr",
    )
    concat = _kind(kinds, "concat", _concat, "train one classifier of several models' features, as one network")
    concat.add_argument(
        "members", nargs="+", metavar="MODEL", help="two or more run folders or names of `moue models` but ensembles"
    )
    add_training(concat, "RUN", "the run folder to write", "change a setting, as in optim.epochs=5", "time budget")
    concat.add_argument("--recipe", default="concat", metavar="RECIPE", help="a recipe or YAML file (default: concat)")
    concat.add_argument("--unfreeze", action="store_true", help="train the models' own weights, too")
    concat.add_argument("--resume", action="store_true", help="resume the run in --out")
    concat.set_defaults(workers=None, ray=False)  # Of `train`.
    hybrid = _kind(kinds, "hybrid", _hybrid, "fit a scikit-learn classifier on a model's features, as one file")
    hybrid.add_argument(
        "members", nargs=1, metavar="MODEL", help="a run folder, an .onnx file or a name of `moue models`"
    )
    hybrid.add_argument(
        "--classifier",
        default="linear-svm",
        metavar="C",
        help=f"{', '.join(CLASSIFIERS)} (default: linear-svm); knn-svm fits one for each face, on its nearest images",
    )
    add_dataset(hybrid, "the set to fit on; what the model held out of it is held out", required=True)
    hybrid.add_argument("-o", "--out", required=True, type=Path, metavar="FILE", help="the .onnx file to write")
    hybrid.add_argument("--name", metavar="NAME", help="the model's name (default: the file's)")
    hybrid.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V,V,…",
        help="values of a setting to choose from, as in C=0.1,1",
    )


def run(args: argparse.Namespace) -> int:
    """Run the kind.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def _kind(kinds: Any, name: str, act: Callable[[argparse.Namespace], int], line: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
    parser.set_defaults(act=act)
    add_format(parser)
    # Where the option stands must not matter; without a default it cannot undo the one that stands before the kind.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _add_unseen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unseen",
        action="store_true",
        help="models that were trained on another set have seen no image of --data: all of it but its test rows is "
        "held out for them",
    )


def _add_members(parser: argparse.ArgumentParser, data: str, required: bool) -> None:
    parser.add_argument("members", nargs="+", metavar="MODEL", help=f"two or more {MEMBERS}")
    add_dataset(parser, data, required=required)
    _add_unseen(parser)
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="FILE", help="the .onnx file to write")
    parser.add_argument("--name", metavar="NAME", help="the model's name (default: the file's)")
    parser.add_argument(
        "--store",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="how the weights of run folders are stored in the file",
    )


def _rank(args: argparse.Namespace) -> int:
    """Print the best subsets, and on stderr how to write the first."""
    from moue.ensembles.members import unseen_remark
    from moue.ensembles.rank_subsets import rank_subsets
    from moue.evaluation.calibration import MIN_ROWS
    from moue.trained.open import spec_of

    note_shadowed_runs(args.members)
    table = read_for(args, args.members[0], spec_of(args.members[0]))
    with Progress("evaluating", "models") as progress:
        scores = rank_subsets(args.members, table, progress, unseen=args.unseen)[: args.top]
    if args.unseen and (remark := unseen_remark(args.members, table)):
        sys.stderr.write(f"moue: {remark}\n")
    if scores[0].n < MIN_ROWS:
        sys.stderr.write(f"moue: {scores[0].n} held-out images are few: the order is mostly chance\n")
    values = [asdict(score, dict_factory=_rounded) for score in scores]
    rows = [value | {"members": " + ".join(value["members"])} for value in values]
    write(rows, args.format, values, percent=PERCENT)
    best = scores[0].members
    if len(best) == 1:
        sys.stderr.write(f"moue: no average is better than {best[0]} alone\n")
    else:
        options = ["-o", "ensemble.onnx", "--data", args.data, *typed_options(args), *["--unseen"] * args.unseen]
        command = shlex.join(["moue", "ensemble", "vote", *best, *options])
        sys.stderr.write(f"moue: to write the best subset as one file: {command}\n")
    return exit_code(table.left_out)


def _vote(args: argparse.Namespace) -> int:
    check_weights(args.weights, args.members)
    from moue.ensembles.voting import merge

    table = _read(args)
    with Progress("merging the models"):
        spec = merge(
            args.members,
            args.out,
            args.weights,
            kind="majority" if args.majority else "soft",
            fit=args.fit,
            store=args.store,
            data=table,
            unseen=args.unseen,
            name=args.name,
        )
    _print_members(args, spec, args.out)
    return 0 if table is None else exit_code(table.left_out)


def _stack(args: argparse.Namespace) -> int:
    from moue.ensembles.stacking import stack

    table = _read(args)
    assert table is not None  # --data is required.
    with Progress("stacking the models"):
        spec = stack(args.members, args.out, table, store=args.store, unseen=args.unseen, name=args.name)
    _print_members(args, spec, args.out)
    return exit_code(table.left_out)


def _bag(args: argparse.Namespace) -> int:
    from moue.ensembles.bagging import ENSEMBLE, bag

    result, code = _train_all(bag, args, args.members)
    values = result.to_dict()
    gain = result.spec.trained.get("gain", {})
    ours = {"validation": values["validation"], "balanced_accuracy": gain.get("balanced_accuracy")}
    rows = [*values["members"], {"run": "all, averaged", **ours}]
    if (out := result.out_of_bag) is not None:
        scores = {"validation": out.accuracy, "balanced_accuracy": out.balanced_accuracy}
        rows.append({"run": f"out of bag ({out.n:,} rows)", **scores})
    # In a table the out-of-bag rows, which are no validation rows, stand in the same column.
    titles = {"validation": "accuracy"}
    print_ensemble(args, rows, values, result.spec, args.out / ENSEMBLE, result.runs, titles=titles)
    return code


def _boost(args: argparse.Namespace) -> int:
    from moue.ensembles.bagging import ENSEMBLE
    from moue.ensembles.boosting import boost

    result, code = _train_all(boost, args, args.rounds, learning_rate=args.learning_rate)
    values = result.to_dict()
    runs = [Path(r.run) for r in result.rounds]
    rows = [{key: row[key] for key in ("run", *ROUND_TITLES)} for row in values["rounds"]]
    print_ensemble(args, rows, values, result.spec, args.out / ENSEMBLE, runs, titles=ROUND_TITLES, notes=ROUND_NOTES)
    return code


def _train_all(train: Callable[..., T], args: argparse.Namespace, count: int, **options: Any) -> tuple[T, int]:
    """Train the members of a recipe with ``bag`` or ``boost``: what that gives, and the command's exit code."""
    given = read_training(args)
    from moue.cli.train import TrainingProgress

    options |= {"recipe": given.recipe, "settings": given.settings}
    try:
        found = train(
            given.config, given.table, args.out, count, **options, progress=lambda name: TrainingProgress(f"{name}: ")
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command takes what is trained, and resumes the rest") from None
    return found, given.code


def _concat(args: argparse.Namespace) -> int:
    from moue.cli.train import train

    if len(args.members) < 2:
        raise UsageError(f"a concatenation joins two models or more. Got {args.members[0]} alone.")
    recipe, config, settings = read_recipe(args)
    changes: dict[str, Any] = {"model.backbones": args.members}
    if args.unfreeze:
        changes |= {"model.options.frozen": False, "optim.cached_views": 0}
    return train(args, recipe, config.override(changes=changes), [*settings, *changes], _print_concat)


def _print_concat(args: argparse.Namespace, run: Run, table: ImageTable) -> None:
    from moue.cli.train import line_of, summary_of
    from moue.ensembles.concatenation import compare_with_members
    from moue.ensembles.gain import member_scores

    spec, scored, missing = compare_with_members(run, args.members, table)
    sys.stderr.writelines(f"moue: {remark}\n" for remark in missing)
    scores = dict(zip(scored, member_scores(spec, len(scored)), strict=True))
    unknown = {"accuracy": None, "balanced_accuracy": None}
    names = zip(args.members, spec.trained["members"], strict=True)
    rows = [{"member": name, "network": m["network"], **scores.get(name, unknown)} for name, m in names]
    values = {**summary_of(run.folder, spec), "members": rows, "remarks": spec.trained.get("remarks", [])}
    notes, reason = ("", line_of(run.folder, spec)), UNKNOWN if scored else ALONE
    print_ensemble(args, rows, values, spec, run.folder, scored, notes=notes, unknown=reason)


def _hybrid(args: argparse.Namespace) -> int:
    from moue.ensembles.hybrid import hybrid

    settings = dict(map(_values, args.set))
    require("sklearn", "train")
    table = _read(args)
    assert table is not None  # --data is required.
    with Progress("computing features of", "images") as progress:
        result = hybrid(
            args.members[0], args.out, table, args.classifier, settings=settings, name=args.name, progress=progress
        )
    spec = result.spec
    trials = [
        {**trial.settings, **{key: getattr(trial, key) for key in ("accuracy", "log_loss", "chosen")}}
        for trial in result.trials
    ]
    values = {
        "file": str(args.out),
        "name": spec.name,
        "kind": "hybrid",
        "classifier": args.classifier,
        "settings": spec.trained["settings"],
        "held_out": spec.trained["data"]["validation"],
        "validation": spec.scores.get("validation"),
        "trials": trials,
        "remarks": spec.trained.get("remarks", []),
    }
    rows = [{**trial, "log_loss": round(trial["log_loss"], 4)} for trial in trials] or [spec.trained["settings"]]
    chosen = ", ".join(f"{key}={value:g}" for key, value in spec.trained["settings"].items())
    note = f"{args.classifier} ({chosen}) on features of {spec.trained['members'][0]['name']}"
    print_ensemble(args, rows, values, spec, args.out, args.members, notes=("", note))
    return exit_code(table.left_out)


def _values(text: str) -> tuple[str, list[float]]:
    """A setting and its values, as they are typed."""
    key, equals, values = text.partition("=")
    try:
        if equals:
            return key.strip(), [float(value) for value in values.split(",")]
    except ValueError:
        pass
    raise UsageError(f"--set takes a setting with a number or several, as in C=0.1,1. Got {quoted(text)} instead.")


def _read(args: argparse.Namespace) -> ImageTable | None:
    """The data set, as the first member was trained on it; None where none is given."""
    from moue.data.loading import source_files
    from moue.export.files import model_files
    from moue.files import require_no_overwrite
    from moue.trained.open import spec_of

    note_shadowed_runs(args.members)
    if args.data is None:
        return None
    require_no_overwrite(model_files(args.out), source_files(args.data, args.votes))
    first = args.members[0]
    fold = Path(first) / "fold-0"
    model = fold if fold.is_dir() else first
    return read_for(args, model, spec_of(model))


def _print_members(args: argparse.Namespace, spec: ModelSpec, out: Path) -> None:
    from moue.ensembles.gain import member_scores

    columns = {"member": "name", "network": "network", "weight": "weight"}
    if spec.trained["ensemble"] == "stack":
        del columns["weight"]  # A matrix says how much each counts.
    described = spec.trained["members"]
    scores = member_scores(spec, len(described))
    members = [
        {**{key: member[name] for key, name in columns.items()}, **own}
        for member, own in zip(described, scores, strict=True)
    ]
    values = {
        "file": str(out),
        "name": spec.name,
        "kind": spec.trained["ensemble"],
        "members": members,
        "validation": spec.scores.get("validation"),
        "remarks": spec.trained.get("remarks", []),
    }
    print_ensemble(args, members, values, spec, out, args.members)


def _rounded(values: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in values}
