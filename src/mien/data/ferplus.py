"""FER+: ten crowd votes for every row of FER-2013, used as targets by its authors' rules, or in addition to the labels.

Source: Barsoum et al., "Training deep networks for facial expression recognition with crowd-sourced label distribution",
ICMI 2016; the votes, fer2013new.csv, are under the MIT licence.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from mien.data.faceset import SPLITS
from mien.data.rows import EXPRESSION_WORDS, BadRow, Row, Rows, lines, open_tree, shortened, split_of
from mien.data.source import VotesAs
from mien.errors import MienError
from mien.labels import FER2013, FERPLUS

_NO_EMOTION = ("unknown", "NF")  # NF: not a face
_ENOUGH = 2  # a single vote counts as a mistake


@dataclass(frozen=True)
class _Votes:
    path: Path
    counts: np.ndarray  # (M, 10), int64: FER+'s eight emotions, then "unknown" and "not a face"
    splits: list[str]
    by_name: dict[str, int]


def with_votes(rows: Rows, path: Path, votes_as: VotesAs) -> Rows:
    """Replace the targets of FER-2013's rows by FER+ votes, or add the votes to the rows.

    Row N of the votes belongs to row N of fer2013.csv. Images named as FER+ names them (fer0000032.png) are matched by
    name. The row of other images, such as those of the Kaggle folders, is not known.

    `votes_as`: "distribution" shares the target among the emotions by their votes, and leaves out rows won by "unknown" or
    "not a face"; "majority" gives all of it to the emotion with more than half of the votes, and leaves out rows without such
    an emotion; "beside" keeps all rows and their targets, and adds the result of `votes_beside`.
    """
    votes = _read(path)
    if votes_as != "beside":
        kind = f"{rows.kind}, with FER+ votes by {votes_as} (rows without a face or a clear vote left out)"
        targets = vote_targets(votes.counts, votes_as)
        replaced = (
            item if isinstance(item, BadRow) else replace(item, target=targets[number], votes=None)
            for item, number in _matched(rows, votes)
            if isinstance(item, BadRow) or targets[number].any()
        )
        return replace(rows, kind=kind, labels=FERPLUS, rows=replaced)
    if set(rows.labels) != set(FER2013):
        raise MienError(
            f"Votes can be used beside FER-2013's seven labels only ({', '.join(FER2013)}), not beside "
            f"{shortened(', '.join(rows.labels), 200)}; name FER-2013 as --data, or leave --data.votes_as beside out."
        )
    shares = votes_beside(votes.counts)[:, [FER2013.index(name) for name in rows.labels]]
    added = (
        item if isinstance(item, BadRow) else replace(item, votes=shares[number]) for item, number in _matched(rows, votes)
    )
    return replace(rows, kind=f"{rows.kind}, with FER+ votes beside the labels", rows=added)


def vote_targets(votes: np.ndarray, votes_as: Literal["distribution", "majority"]) -> np.ndarray:
    """Turn votes into targets: single votes are dropped, then the rest is shared or the majority takes all.

    Votes are (M, K + 2): the K emotions, then "unknown" and "not a face". The targets are (M, K), float32; every row sums to 1,
    or to 0 where the row is to be left out.
    """
    votes = _without_single_votes(votes)
    emotions, others = votes[:, :-2], votes[:, -2:]
    if votes_as == "majority":
        return np.asarray(emotions > votes.sum(axis=1, keepdims=True) / 2, dtype=np.float32)
    return _shares(emotions, emotions.max(axis=1) >= np.maximum(others.max(axis=1), _ENOUGH))


def votes_beside(votes: np.ndarray) -> np.ndarray:
    """Share votes among FER-2013's seven labels: single votes are dropped, then contempt, "unknown" and "not a face".

    Votes are (M, 10): FER+'s eight emotions, then "unknown" and "not a face". The result is (M, 7), float32; every row sums to
    1, or to 0 where one of the three has as many votes as the strongest of the seven.
    """
    votes = _without_single_votes(votes)
    emotions, others = votes[:, : len(FER2013)], votes[:, len(FER2013) :]
    return _shares(emotions, emotions.max(axis=1) > others.max(axis=1))


def _without_single_votes(votes: np.ndarray) -> np.ndarray:
    return np.where(votes < _ENOUGH, 0, votes).astype(np.float64)


def _shares(emotions: np.ndarray, kept: np.ndarray) -> np.ndarray:
    total = np.where(kept, emotions.sum(axis=1), 1)[:, None]
    return np.asarray(np.where(kept[:, None], emotions / total, 0), dtype=np.float32)


def _read(path: Path) -> _Votes:
    tree = open_tree(path)
    if not tree.is_single_file:
        raise MienError(f"The votes must be one file, fer2013new.csv, not {path}.")
    table = csv.reader(line.decode(errors="replace") for _, line in lines(tree, tree.files[0]))
    header = [name.strip() for name in next(table, [])]
    meaning = {EXPRESSION_WORDS.get(name.casefold(), name): column for column, name in enumerate(header)}
    wanted = ("Usage", "Image name", *FERPLUS.names, *_NO_EMOTION)
    if missing := [name for name in wanted if name not in meaning]:
        raise MienError(
            f"{path} does not hold FER+ votes: it has the columns {', '.join(header)[:200]} and lacks {', '.join(missing)}. "
            "Take fer2013new.csv of github.com/microsoft/FERPlus."
        )
    records = list(table)
    try:
        counts = np.array([[int(record[meaning[name]]) for name in wanted[2:]] for record in records])
        splits = [split_of(record[meaning["Usage"]]) for record in records]
    except (ValueError, IndexError, MienError) as error:
        raise MienError(f"{path} is damaged: {error}. Download it again.") from error
    names = {record[meaning["Image name"]]: row for row, record in enumerate(records) if record[meaning["Image name"]]}
    return _Votes(path, counts.reshape(-1, len(wanted) - 2), splits, names)


def _matched(rows: Rows, votes: _Votes) -> Iterator[tuple[Row, int] | tuple[BadRow, int]]:
    """Find the number of each row's votes; it has no meaning for a bad row."""
    for row in rows.rows:
        if isinstance(row, BadRow):
            yield row, -1
            continue
        number = votes.by_name.get(PurePosixPath(row.id).name) if row.number is None else row.number
        if number is None:
            raise MienError(
                f"FER+ votes are matched by the row number in fer2013.csv, which is not known of {row.id}; "
                "take fer2013.csv itself, or images named as FER+ names them (fer0000032.png)."
            )
        if row.number is not None:
            _check(row.number, row.split, votes)
        yield row, number


def _check(number: int, split: str, votes: _Votes) -> None:
    voted = votes.splits[number] if number < len(votes.splits) else "beyond the end"
    if voted != split and (split != "none" or voted not in SPLITS):
        raise MienError(
            f"Row {number} is {split} in the faces and {voted} in {votes.path}: these votes do not belong to these faces. "
            "Take FER-2013 with its rows in the official order."
        )
