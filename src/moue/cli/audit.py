"""`moue audit FOLDER --groups CSV`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from moue.cli.dataset import SET_HELP, add_reading, reading_options
from moue.cli.evaluate import SPLITS
from moue.cli.numbers import real, seed, whole
from moue.cli.output import add_format, note_shadowed_runs, report_left_out, to_table, write
from moue.cli.progress import Progress
from moue.errors import require
from moue.files import require_directory, require_no_overwrite
from moue.runtime.engine import ENGINES


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue audit`."""
    add = parser.add_argument
    add("data", metavar="FOLDER", help=f"labeled images: {SET_HELP}")
    add(
        "--groups",
        required=True,
        type=Path,
        metavar="CSV",
        help="a line an image: file (or row), columns of groups, and person where several images show the same one",
    )
    add("--columns", metavar="A,B", help="the columns of groups to use (default: all)")
    add("--cross", metavar="A,B", help="columns whose combinations are compared, too")
    add("-o", "--out", type=Path, metavar="DIR", help="write the page, its Markdown, JSON and figures there")
    add("--model", default="default", help="a name of `moue models`, an .onnx file or a run folder (default: default)")
    add("--split", choices=SPLITS, help="the rows (default: the test rows of a set that has them, else all)")
    add_reading(parser, "that of a written set, or what suits the model", "for models of FER+'s classes")
    add(
        "--detector",
        default="auto",
        choices=("auto", "centerface", "none"),
        help="none: each image is a face (default: centerface for folders and zips of images, none for other sets)",
    )
    add("--min-score", type=real(0, 1), default=0.5, help="the least score of a detected face, 0 to 1 (default: 0.5)")
    add(
        "--resamples",
        type=whole(99, 1_000_000),
        default=10_000,
        metavar="N",
        help="permutations of each test (default: 10000)",
    )
    add("--seed", type=seed(), default=0, help="of the permutations (default: 0)")
    add("--engine", default="auto", choices=ENGINES, help="what runs the model's graph (default: auto)")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Audit, write the page, and print the groups and gaps.

    Returns:
        3 where images could not be read, else 0.
    """
    from moue.evaluation.audit_model import audit_model, inputs_of
    from moue.report.audit import FILES, to_dict, write_audit

    if args.out is not None:
        # Checked first: reading many photos must not end in a missing package of the page.
        for module in ("matplotlib", "jinja2"):
            require(module, "report")
        require_directory(args.out)
        require_no_overwrite([args.out / name for name in FILES], inputs_of(args.data, args.groups, args.votes))
    note_shadowed_runs([args.model])
    codes: list[int] = []
    result = audit_model(
        args.model,
        args.data,
        args.groups,
        columns=_names(args.columns),
        cross=_names(args.cross),
        split=args.split,
        reading=reading_options(args),
        detector=args.detector,
        min_score=args.min_score,
        resamples=args.resamples,
        seed=args.seed,
        engine=args.engine,
        left_out=lambda rows: codes.append(report_left_out(rows)),
        progress=Progress,
    )
    for split, n in result.other_splits.items():
        sys.stderr.write(
            f"moue: {n:,} images of {split} are left out beside the test rows: --split {split} audits them\n"
        )
    where = "the set" if result.split is None else f"its {result.split.replace('_', ' ')} rows"
    for n, label in (
        (result.groups.without, f"images without a line in {args.groups}, which are in no group"),
        (result.groups.unused, f"lines of {args.groups} that are of no image of {where}"),
        (result.several, "images with more than one face, of which the largest was read"),
    ):
        if n:
            sys.stderr.write(f"moue: {label}: {n:,}\n")
    if args.out is not None:
        from moue.training import machine

        provenance = {
            "Command": "moue " + " ".join(map(shlex.quote, sys.argv[1:])),
            "Model": f"{result.spec.name}, {result.spec.sha256[:12] or 'a run'}",
            "Data": f"{result.data}, {result.audit.overall.n:,} images, fingerprint {result.fingerprint}",
            "Groups": f"{args.groups.name}, sha256 {sha256(args.groups.read_bytes()).hexdigest()[:12]}",
            "Detector": result.detector,
            "Tests": f"{result.audit.resamples:,} permutations, seed {args.seed}",
            "Versions": machine.describe()["versions"],
            "Date": time.strftime("%Y-%m-%d"),
        }
        write_audit(result, args.out, provenance=provenance)
    _print(result, args, to_dict(result))
    return max(codes)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _print(result: Any, args: argparse.Namespace, values: dict[str, Any]) -> None:
    from moue.report.audit import findings, measure_name, share_text
    from moue.report.format import p_value, percent

    audit = result.audit
    if args.format != "table":
        write(list(_rows(values)), args.format, values)
        return
    groups = [
        {
            "column": column.name,
            "group": group.group,
            "images": group.n,
            **({} if group.persons is None else {"persons": group.persons}),
            "no face %": share_text(group.unread),
            "uncertain %": share_text(group.uncertain),
            "right %": share_text(group.accuracy),
            "mean recall %": None if group.mean_recall is None else f"{100 * group.mean_recall:.0f}",
        }
        for column in audit.columns
        for group in column.groups
    ]
    gaps = [
        {
            "column": gap.column,
            "gap": measure_name(gap),
            "highest": f"{gap.highest} {percent(gap.high)}",
            "lowest": f"{gap.lowest} {percent(gap.low)}",
            "p": p_value(gap.p),
            "p holm": p_value(gap.p_holm),
            "at 5 %": "significant" if gap.significant else "",
        }
        for gap in audit.gaps
    ]
    sys.stdout.write("\n".join(to_table(rows) for rows in (groups, gaps) if rows) + "\n")
    sys.stdout.writelines(f"{finding.title}: {finding.text}\n" for finding in findings(result))
    if args.out is not None:
        sys.stdout.write(f"\n{args.out / 'audit.html'}\n")


def _rows(values: dict[str, Any]) -> Any:
    """A row a group, of plain numbers, for CSV and Parquet."""
    for column in values["columns"]:
        for group in column["groups"]:
            yield {
                "column": column["name"],
                "kind": column["kind"],
                "group": group["group"],
                "n": group["n"],
                "persons": group["persons"],
                "unread": group["unread"]["share"],
                "uncertain": group["uncertain"]["share"],
                "accuracy": group["accuracy"]["share"],
                "accuracy_low": group["accuracy"]["low"],
                "accuracy_high": group["accuracy"]["high"],
                "mean_recall": group["mean_recall"],
                "few": group["accuracy"]["few"],
                **{f"recall_{name}": cell["share"] for name, cell in group["recall"].items()},
            }
