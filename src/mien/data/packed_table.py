"""What a pack holds of its rows besides their pixels, gathered row by row."""

import json
from dataclasses import dataclass, field

import numpy as np

from mien.data.faceset import SPLITS
from mien.data.rows import Row


@dataclass
class PackedTable:
    """The rows so far, in their order, and what was said of those that could not be read."""

    targets: list[int | np.ndarray] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    votes: list[np.ndarray | None] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    columns: list[dict[str, str]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def append(self, row: Row, size: tuple[int, int]) -> None:
        """Add a row; its size is the height and width its image had."""
        self.targets.append(row.target)
        self.splits.append(SPLITS.index(row.split))
        self.ids.append(row.id.encode(errors="backslashreplace"))
        self.votes.append(row.votes)
        self.sizes.append(size)
        self.columns.append(dict(row.columns))

    def in_order(self, order: np.ndarray) -> "PackedTable":
        """Give the rows in another order."""
        return PackedTable(
            targets=[self.targets[i] for i in order],
            splits=[self.splits[i] for i in order],
            ids=[self.ids[i] for i in order],
            votes=[self.votes[i] for i in order],
            sizes=[self.sizes[i] for i in order],
            columns=[self.columns[i] for i in order],
            bad=self.bad,
        )

    def tensors(self, labels: int) -> dict[str, np.ndarray]:
        """Make the tensors of a pack, but for the images.

        Args:
            labels: K.
        """
        hard = np.eye(labels, dtype=np.float32)
        targets = np.stack([hard[target] if isinstance(target, int) else target for target in self.targets])
        ids = np.array(self.ids, dtype=bytes)
        tensors = {
            "targets": targets.astype("<f4"),
            "sizes": np.array(self.sizes, dtype="<u4"),
            "splits": np.array(self.splits, dtype=np.uint8),
            "ids": ids.view(np.uint8).reshape(len(ids), -1),
            "skipped": np.frombuffer(json.dumps(self.bad).encode(), np.uint8),
        }
        if any(votes is not None for votes in self.votes):
            unknown = np.zeros(labels, dtype=np.float32)
            tensors["votes"] = np.stack([unknown if votes is None else votes for votes in self.votes]).astype("<f4")
        if names := list(dict.fromkeys(name for columns in self.columns for name in columns)):
            values = {name: [columns.get(name, "") for columns in self.columns] for name in names}
            tensors["columns"] = np.frombuffer(json.dumps(values).encode(), np.uint8)
        return tensors


def read_columns(tensor: np.ndarray | None) -> dict[str, np.ndarray]:
    """Read the columns of a pack: each (N,) of text, by their names."""
    values = json.loads(bytes(tensor)) if tensor is not None else {}
    return {name: np.array(cells, dtype=str) for name, cells in values.items()}
