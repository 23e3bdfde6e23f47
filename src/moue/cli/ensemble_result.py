"""What `moue ensemble KIND` prints of the ensemble that it wrote: its members, and the best of them beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moue.cli.output import in_percent, write
from moue.spec import ModelSpec

#: Columns of fractions, which a table shows in percent.
PERCENT = (
    *("accuracy", "accuracy_se", "balanced_accuracy", "validation", "majority_baseline", "disagreement"),
    *("error", "train_accuracy"),  # Of rounds of boosting.
)

#: Said where no row was held out by all members, and where a concatenation has no member to be compared with.
UNKNOWN = "whether it is better than its best member is not known: there are no rows that all members held out"
ALONE = "whether it is better than its best member is not known: none of them is there that has its classes"


def print_ensemble(
    args: argparse.Namespace,
    rows: Sequence[dict[str, Any]],
    values: Mapping[str, Any],
    spec: ModelSpec,
    out: Path,
    members: Sequence[str | Path],
    *,
    titles: Mapping[str, str] | None = None,
    notes: Collection[str] = (),
    unknown: str = UNKNOWN,
) -> None:
    """Print rows or values; on a terminal then the ensemble beside its best member, and whether it helps. Remarks go to
    stderr, as does that sentence where the output is not a table.

    Args:
        args: with the ``format``.
        rows: a row a member, numbers as they are.
        values: what JSON has, to which ``gain`` is added: ``trained["gain"]`` of the spec with the ``cost`` of both;
            None where no row was held out by all.
        spec: the ensemble's, as written.
        out: its file or run folder.
        members: what was given, in the order of ``trained["gain"]["members"]``.
        titles: of the table's columns, where they are not those of the rows.
        notes: lines below the table of rows.
        unknown: why there is no gain, where there is none.
    """
    from moue.ensembles.gain import cost_rows, costs

    found = spec.trained.get("gain")
    cost = costs(out, members[found["best"]]) if found else {}
    gain = found and {**found, "cost": {who: asdict(values) for who, values in cost.items()}}
    if args.format == "table":
        write([{(titles or {}).get(k, k): _shown(k, v) for k, v in row.items()} for row in rows], "table")
        sys.stdout.writelines(f"{note}\n" for note in notes)
        if found:
            sys.stdout.write("\n")
            write(cost_rows(found, cost, spec.name), "table", percent=PERCENT)
    else:
        write(list(rows), args.format, {**values, "gain": gain})
    sys.stderr.writelines(f"moue: {remark}\n" for remark in spec.trained.get("remarks", ()))
    advice = "; --data SET names some" if getattr(args, "data", None) is None else ""
    verdict = found["summary"] if found else unknown + advice
    if args.format == "table":
        kind, n = spec.trained.get("ensemble", ""), len(spec.trained.get("members", members))
        sys.stdout.write(f"\n{out}: {kind}{f' of {n}' if n > 1 else ''}\n{verdict}\n")
    else:
        sys.stderr.write(f"moue: {verdict}\n")


def _shown(key: str, value: Any) -> Any:
    return in_percent(value) if key in PERCENT else value
