"""FER+: ten crowd votes for every row of FER-2013, used as targets by its authors' rules, or in addition to the labels.

Source: Barsoum et al., "Training deep networks for facial expression recognition with crowd-sourced label distribution",
ICMI 2016; the votes, fer2013new.csv, are under the MIT licence.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from mien.data.faceset import SPLITS
from mien.data.rows import BadRow, Row, Rows, open_tree, records, shortened, split_of
from mien.data.source import VotesAs
from mien.errors import MienError
from mien.labels import FER2013, FERPLUS, meaning

_NO_EMOTION = ("unknown", "NF")  # NF: not a face
_ENOUGH = 2  # a single vote counts as a mistake


def with_votes(rows: Rows, path: Path, votes_as: VotesAs) -> Rows:
    """Replace the targets of FER-2013's rows by FER+ votes, or add the votes to the rows.

    Row N of the votes belongs to row N of fer2013.csv. Images named as FER+ names them (fer0000032.png) are matched by
    name. The row of other images, such as those of the Kaggle folders, is not known.

    `votes_as`: "distribution" shares the target among the emotions by their votes, and leaves out rows won by "unknown" or
    "not a face"; "majority" gives all of it to the emotion with more than half of the votes, and leaves out rows without such
    an emotion; "beside" keeps all rows and their targets, and adds the shares of the labels that the rows have.
    """
    counts, splits, numbers = _read(path)
    shares, is_beside = vote_targets(counts, votes_as), votes_as == "beside"
    if is_beside and set(rows.labels) != set(FER2013):
        raise MienError(
            f"Votes can be used beside FER-2013's seven labels only ({', '.join(FER2013)}), not beside "
            f"{shortened(', '.join(rows.labels), 200)}; name FER-2013 as --data, or leave --data.votes_as beside out."
        )
    if is_beside:
        shares = shares[:, [FER2013.index(name) for name in rows.labels]]

    def number_of(row: Row) -> int:
        number = numbers.get(PurePosixPath(row.id).name) if row.number is None else row.number
        if number is None:
            raise MienError(
                f"FER+ votes are matched by the row number in fer2013.csv, which is not known of {row.id}; "
                "take fer2013.csv itself, or images named as FER+ names them (fer0000032.png)."
            )
        voted = splits[number] if number < len(splits) else "beyond the end"
        if row.number is not None and voted != row.split and (row.split != "none" or voted not in SPLITS):
            raise MienError(
                f"Row {number} is {row.split} in the faces and {voted} in {path}: these votes do not belong to these faces. "
                "Take FER-2013 with its rows in the official order."
            )
        return number

    def voted_rows() -> Iterator[Row | BadRow]:
        for row in rows.rows:
            if isinstance(row, BadRow):
                yield row
            elif is_beside:
                yield replace(row, votes=shares[number_of(row)])
            elif (target := shares[number_of(row)]).any():
                yield replace(row, target=target, votes=None)

    if is_beside:
        return replace(rows, kind=f"{rows.kind}, with FER+ votes beside the labels", rows=voted_rows())
    kind = f"{rows.kind}, with FER+ votes by {votes_as} (rows without a face or a clear vote left out)"
    return replace(rows, kind=kind, labels=FERPLUS, rows=voted_rows())


def vote_targets(votes: np.ndarray, votes_as: VotesAs) -> np.ndarray:
    """Turn votes into shares: single votes are dropped, then the rest is shared or the majority takes all.

    Votes are (M, 10): FER+'s eight emotions, then "unknown" and "not a face". The result is (M, 8), float32, or (M, 7) for
    "beside", where contempt is none of the labels. Every row sums to 1, or to 0 where no label wins: for "distribution" the
    strongest label must reach the strongest of the rest, for "beside" exceed it.
    """
    votes = np.where(votes < _ENOUGH, 0, votes).astype(np.float64)
    labels = len(FER2013) if votes_as == "beside" else len(FERPLUS)
    emotions, others = votes[:, :labels], votes[:, labels:].max(axis=1)
    if votes_as == "majority":
        return np.asarray(emotions > votes.sum(axis=1, keepdims=True) / 2, dtype=np.float32)
    most = emotions.max(axis=1)
    wins = most > others if votes_as == "beside" else most >= np.maximum(others, _ENOUGH)
    total = emotions.sum(axis=1, keepdims=True, where=wins[:, None])
    return np.asarray(np.divide(emotions, total, out=np.zeros_like(emotions), where=total > 0), dtype=np.float32)


def _read(path: Path) -> tuple[np.ndarray, list[str], dict[str, int]]:
    """Read the votes (M, 10), int64, the split of every row, and the number of each image's row by its name."""
    tree = open_tree(path)
    if not tree.is_single_file:
        raise MienError(f"The votes must be one file, fer2013new.csv, not {path}.")
    header, *table = [cells for _, cells in records(tree, tree.files[0])] or [[]]
    columns = {meaning(name) or name: column for column, name in enumerate(header)}
    wanted = ("Usage", "Image name", *FERPLUS.names, *_NO_EMOTION)
    if missing := [name for name in wanted if name not in columns]:
        raise MienError(
            f"{path} does not hold FER+ votes: it has the columns {shortened(', '.join(header), 200)} and lacks "
            f"{', '.join(missing)}. Take fer2013new.csv of github.com/microsoft/FERPlus."
        )
    try:
        usages, images, *counts = ([cells[columns[name]] for cells in table] for name in wanted)
        votes = np.array(counts, dtype=np.int64).T
        splits = [split_of(usage) for usage in usages]
    except (ValueError, IndexError, MienError) as error:
        raise MienError(f"{path} is damaged: {error}. Download it again.") from error
    return votes, splits, {image: row for row, image in enumerate(images) if image}
