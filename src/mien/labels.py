"""Ordered label names, and the arithmetic of keeping and merging them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mien.errors import MienError, suggestion


@dataclass(frozen=True)
class LabelSet:
    """Label names in the order of the model's outputs.

    Raises:
        MienError: if a name is empty, not text, or a duplicate, or if there is none.
    """

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]) -> None:
        object.__setattr__(self, "names", tuple(names))
        if not self.names:
            raise MienError("A label set needs at least one label name.")
        if not all(isinstance(name, str) for name in self.names):
            raise MienError(f"Label names must be text, not {list(self.names)}; put quotes around numbers.")
        if not all(name.strip() for name in self.names):
            raise MienError(f"A label name is empty: {list(self.names)}.")
        if doubles := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise MienError(f"Duplicate label names: {', '.join(doubles)}.")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, index: int) -> str:
        return self.names[index]

    def index(self, name: str) -> int:
        """Return the index of a label.

        Raises:
            MienError: if there is no such label; the sentence suggests the most similar one.
        """
        if name in self.names:
            return self.names.index(name)
        hint = suggestion(name, self.names, phrase=" Did you mean {!r}?")
        raise MienError(f"There is no label {name!r} among {', '.join(self.names)}.{hint}")

    def keep(self, names: Sequence[str]) -> tuple["LabelSet", tuple[int, ...]]:
        """Keep some labels, in the order given.

        Returns:
            The new set, and for each old label its new index, or -1 where it is dropped.

        Raises:
            MienError: if a name is unknown or given twice, or if there is none.
        """
        kept = LabelSet(_as_tuple(names))
        wanted = [self.index(name) for name in kept.names]
        return kept, tuple(wanted.index(old) if old in wanted else -1 for old in range(len(self)))

    def merge(self, groups: Mapping[str, Sequence[str]]) -> tuple["LabelSet", tuple[int, ...]]:
        """Merge labels: each new name replaces the old ones listed with it; labels not named stay as they are.

        A merged label takes the place of the first of its members.

        Returns:
            The new set, and for each old label its new index.

        Raises:
            MienError: if a name is unknown or is merged twice, a group is empty, or a new name equals a label that stays.
        """
        merged_into: dict[int, str] = {}
        for new, members in groups.items():
            if not members:
                raise MienError(f"The merged label {new!r} has no members.")
            for member in _as_tuple(members):
                if (old := self.index(member)) in merged_into:
                    raise MienError(f"The label {member!r} is merged twice: into {merged_into[old]!r} and into {new!r}.")
                merged_into[old] = new
        staying = {name for old, name in enumerate(self.names) if old not in merged_into}
        if taken := staying.intersection(groups):
            raise MienError(f"The merged label {sorted(taken)[0]!r} has the name of a label that stays; add it to its members.")
        new_names = [merged_into.get(old, name) for old, name in enumerate(self.names)]
        merged = LabelSet(dict.fromkeys(new_names))
        return merged, tuple(merged.names.index(name) for name in new_names)


def _as_tuple(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):  # its letters would be read as names
        raise MienError(f"Labels to keep or to merge must be a list, not the one text {names!r}.")
    return tuple(names)


FER2013 = LabelSet(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
"""The seven labels of FER-2013 (Goodfellow et al., 2013), in the order of its file."""

FERPLUS = LabelSet((*FER2013.names, "contempt"))
"""The eight emotions of FER+ (Barsoum et al., 2016): FER-2013's seven in their order, then contempt."""
