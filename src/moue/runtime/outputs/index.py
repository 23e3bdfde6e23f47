"""Which inputs a folder of results holds: what is left to read, ``index.csv`` and ``people.csv``."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from moue.errors import UsageError
from moue.runtime.inputs.source import Source
from moue.runtime.network.url import ADDRESS
from moue.runtime.outputs.journal import Journal, fingerprint
from moue.runtime.outputs.mirror import absolute
from moue.runtime.outputs.tables import INDEX, PEOPLE, Tables
from moue.signatures import JOURNAL

#: Kinds of sources that are not opened.
NOT_OPENED = ("skipped", "unreadable")


class Index:
    """The inputs of a run that writes a folder.

    The journal has every input whose results lie in the folder; the tables have those of this run and, where it
    resumes, those of earlier runs with the same model and options.

    Args:
        folder: of the results.
        labels: the class names, in the order of the columns.
        identity: of the model and the options; see :func:`moue.runtime.outputs.journal.identity`.
        resume: whether results of earlier runs are kept.

    Raises:
        UsageError: when another process is writing to the folder, or it has tables that moue did not write.
        OSError: when it cannot be written to.
    """

    def __init__(self, folder: Path, labels: tuple[str, ...], identity: str, resume: bool) -> None:
        self._identity, self._resume = identity, resume
        self._tables = Tables(folder, labels)
        self._journal = Journal(folder)
        if not self._journal.named and (found := [name for name in (INDEX, PEOPLE) if (folder / name).exists()]):
            self._journal.close()
            raise UsageError(
                f"{folder} has {' and '.join(found)} that moue did not write, or without {JOURNAL}, which says so. "
                "Choose another folder for the results."
            )
        # The keys of the inputs, as they are given; those of them that are read; and those that have lines.
        self._given: dict[str, None] = {}
        self._reading: set[str] = set()
        self._listed: set[str] = set()
        self._begun = self._behind = False
        self.kept = 0
        """How many inputs :meth:`pending` left out because their results are there."""
        self.repeated = 0
        """How many it left out because they were given before."""
        self.again = 0
        """How many have results and are read again: those of other options or, without ``resume``, all."""

    @property
    def stems(self) -> Mapping[str, str]:
        """By the key of an input whose results lie in the folder: the stem of its files."""
        return self._journal.stems

    @property
    def named(self) -> Collection[str]:
        """The stems of all files in the folder that this run or an earlier one wrote, complete or not."""
        return self._journal.named

    def pending(self, sources: Iterable[Source]) -> Iterator[Source]:
        """The inputs to read: each once and, to resume, those without results that are complete and of the same kind.

        Results are kept where the input was read to its end and has not changed since, and the model and all options
        are the same, but for those of speed alone.
        """
        for source in sources:
            key = key_of(source)
            if key in self._given:
                self.repeated += 1
                continue
            if key is not None:
                self._given[key] = None
                if self._resume and self._is_current(key, source):
                    self.kept += 1
                    continue
                self.again += self._is_finished(key) and not (self._resume and self._is_same(key))
                self._reading.add(key)
            yield source

    def gone(self) -> list[str]:
        """The paths of inputs that keep their lines in the tables, although they were not given and exist no more."""
        return [key for key in self._earlier() if key not in self._given and _is_gone(key)]

    def left_out(self) -> int:
        """How many inputs of earlier runs were not given and have no lines in the tables: those of other options or,
        without ``resume``, all."""
        return sum(key not in self._given and not (self._resume and self._is_same(key)) for key in self._journal)

    def begin(self, key: str, stem: str) -> None:
        """An input is going to be read, and its files to be written."""
        if not self._begun:
            self._begun = True
            # First the journal, by which the tables are known to be moue's.
            self._journal.begin(key, stem)
            self._rewrite(key for key in self._earlier() if key not in self._reading)
        else:
            self._journal.begin(key, stem)
        self._given.setdefault(key)

    def complete(self, key: str, stem: str, files: list[Path], mark: list[Any] | None, entry: dict[str, Any]) -> None:
        """An input was read: its files are complete.

        Args:
            key, stem: as given to :meth:`begin`.
            files: in the folder.
            mark: what tells whether the input has changed.
            entry: its lines of the tables; see :class:`Tables`.
        """
        self._behind = True
        self._journal.complete(key, stem, self._identity, files, mark=mark, **entry)
        if key in self._listed:
            self._rewrite([*self._listed])
        else:
            self._listed.add(key)
            self._tables.append(entry)
        self._behind = False

    def close(self) -> None:
        """Put the lines of a resumed run into the order of its inputs, and let other processes write to the folder."""
        try:
            if self._resume and self._given:
                others = [key for key in self._earlier() if key not in self._given and self._journal[key]["files"]]
                self._rewrite([*others, *self._given])
            elif self._behind:
                self._rewrite([*self._given])
        finally:
            self._journal.close()

    def _is_current(self, key: str, source: Source) -> bool:
        if not (self._is_same(key) and self._is_finished(key)):
            return False
        mark = self._journal[key]["mark"]
        return mark is not None and bool(mark == fingerprint(source.name))

    def _is_finished(self, key: str) -> bool:
        """Whether an input was read to its end, with any options."""
        # What could not be read is tried again: a package or memory may have been missing.
        return key in self._journal.stems and self._journal[key]["index"]["status"] in ("ok", "no_face")

    def _is_same(self, key: str) -> bool:
        """Whether an input is complete, and read with this model and these options."""
        return self._journal.identities.get(key) == self._identity

    def _earlier(self) -> Iterator[str]:
        """The inputs whose lines a resumed run keeps."""
        return (key for key in self._journal if self._resume and self._is_same(key))

    def _rewrite(self, keys: Iterable[str]) -> None:
        complete = [key for key in keys if self._is_same(key)]
        self._tables.rewrite(map(self._journal.__getitem__, complete))
        self._listed = set(complete)


def _is_gone(key: str) -> bool:
    # That of a stream is no path.
    return os.path.isabs(key) and not os.path.lexists(key)  # noqa: PTH117 - a key is text


def key_of(source: Source) -> str | None:
    """The same for all spellings of a path; None for what is another input each time, such as a camera."""
    if source.content is not None or source.kind == "camera" or ADDRESS.match(source.name):
        return None
    return absolute(source.name)
