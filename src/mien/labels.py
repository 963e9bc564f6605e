"""Ordered label names, the arithmetic of keeping and merging them, and the words of data sets for the same expressions."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mien.errors import MienError, load_table, shortened, suggestion

LabelMap = Mapping[str, str | Sequence[str] | None]
"""What becomes of labels: `{"joy": "happy"}` renames or merges one, `{"happy": ["joy", "smile"]}` merges several, and
`{"contempt": null}` leaves one out. Labels that are not named stay."""

_WORDS = load_table(__file__)
SIMILAR_WORDS: dict[str, str] = _WORDS["similar"]
_MEANINGS: dict[str, str] = {word: name for name, words in _WORDS["same"].items() for word in words.split()}


def meaning(name: str) -> str:
    """Return FER+'s name of an expression that a data set may call otherwise (Happiness, 1-neutral, HA), or nothing."""
    return _MEANINGS.get(re.sub(r"^\d+[\W_]*", "", name.strip()).casefold(), "")


def is_no_expression(name: str) -> bool:
    """Return whether a label stands for faces without a known expression, such as Unknown, other, or no face."""
    return re.fullmatch(_WORDS["no expression"], re.sub(r"[\W\d_]", "", name).casefold()) is not None


def label_changes(groups: LabelMap) -> Iterator[tuple[str, str | None]]:
    """List each label that a map names, with its new name; None leaves it out."""
    for key, value in groups.items():
        if value is None or isinstance(value, str):
            yield str(key), value
        elif not isinstance(value, Sequence):
            raise MienError(f"The label {key!r} cannot become {value!r}; give the name of a label, a list of labels, or null.")
        else:
            yield from ((str(member), key) for member in value)


def label_groups(groups: LabelMap) -> dict[str, list[str] | None]:
    """List the labels of a map by their new name; those that are left out have None."""
    listed: dict[str, list[str] | None] = {}
    for name, new in label_changes(groups):
        listed[name if new is None else new] = None if new is None else [*(listed.get(new) or ()), name]
    return listed


def select_changes(groups: LabelMap, is_wanted: Callable[[str], object]) -> dict[str, str | list[str] | None]:
    """Return the part of a map that changes the labels whose names are wanted."""
    part: dict[str, str | list[str] | None] = {}
    for key, value in groups.items():
        members = [name for name, _ in label_changes({key: value}) if is_wanted(name)]
        if members or value in ([], ()):
            part[str(key)] = value if value is None or isinstance(value, str) else members
    return part


@dataclass(frozen=True)
class LabelSet:
    """Label names in the order of the model's outputs; MienError if one is empty, no text or a duplicate, or there is none."""

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]) -> None:
        object.__setattr__(self, "names", tuple(names))
        if not self.names:
            raise MienError("A label set needs at least one label name.")
        if not all(isinstance(name, str) for name in self.names):
            raise MienError(f"Label names must be text, not {list(self.names)}; put quotes around numbers.")
        if not all(name.strip() for name in self.names):
            raise MienError(f"A label name is empty: {list(self.names)}.")
        if odd := [name for name in self.names if not name.isascii() and "\udfff" >= max(name) >= "\ud800"]:
            raise MienError(f"The label {shortened(odd[0])} is not UTF-8; save the table as UTF-8, or rename the folder.")
        if doubles := sorted(name for name, count in Counter(self.names).items() if count > 1):
            raise MienError(f"Duplicate label names: {', '.join(doubles)}.")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, index: int) -> str:
        return self.names[index]

    def find(self, name: str) -> str | None:
        """Return the label with a name, or with another name of the same expression, such as happiness for happy."""
        if name in self.names:
            return name
        return next((own for own in self.names if meaning(name) and meaning(own) == meaning(name)), None)

    def index(self, name: str) -> int:
        """Return the index of a label; if there is no such label, the MienError suggests the most similar one."""
        if (found := self.find(name)) is not None:
            return self.names.index(found)
        hint = suggestion(name, self.names, phrase=" Did you mean {!r}?")
        raise MienError(f"There is no label {name!r} among {', '.join(self.names)}.{hint}")

    def keep(self, names: Sequence[str]) -> tuple["LabelSet", tuple[int, ...]]:
        """Keep some labels, in the order given; MienError if a name is unknown or given twice, or if there is none.

        Returns the new set, and for each old label its new index, or -1 where it is dropped.
        """
        if isinstance(names, str):  # its letters would be read as names
            raise MienError(f"Labels to keep or to merge must be a list, not the one text {names!r}.")
        wanted = [self.index(name) for name in names]
        kept = LabelSet(self.names[old] for old in wanted)
        return kept, tuple(wanted.index(old) if old in wanted else -1 for old in range(len(self)))

    def merge(self, groups: LabelMap) -> tuple["LabelSet", tuple[int, ...]]:
        """Merge, rename and leave out labels as a `LabelMap` says; a merged label takes the place of the first of its members.

        Returns the new set, and for each old label its new index, or -1 where it is left out.

        Raises:
            MienError: if a name is unknown or gets two new names, a group is empty, or the new name of a group equals a label
                that stays.
        """
        changes: dict[int, str | None] = {}
        if empty := [new for new, members in groups.items() if members in ([], ())]:
            raise MienError(f"The merged label {empty[0]!r} has no members.")
        for member, new in label_changes(groups):
            old = self.index(member)
            if old in changes and not changes[old] == new == groups.get(member):
                raise MienError(f"The label {member!r} is merged twice: into {changes[old]!r} and into {new!r}.")
            changes[old] = new
        staying = {name for old, name in enumerate(self.names) if old not in changes}
        is_group = [new for new, members in groups.items() if members is not None and not isinstance(members, str)]
        if taken := staying.intersection(is_group):
            raise MienError(f"The merged label {sorted(taken)[0]!r} has the name of a label that stays; add it to its members.")
        new_names = [changes.get(old, name) for old, name in enumerate(self.names)]
        merged = LabelSet(dict.fromkeys(name for name in new_names if name is not None))
        return merged, tuple(-1 if name is None else merged.names.index(name) for name in new_names)


def move_shares(shares: np.ndarray, new_index: Sequence[int], count: int) -> np.ndarray:
    """Move shares (N, K) to `count` new labels and scale every row to sum to 1 again; a row with nothing left becomes zeros."""
    new = np.zeros((len(shares), count), dtype=np.float32)
    for old, index in enumerate(new_index):
        if index >= 0:
            new[:, index] += shares[:, old]
    total = new.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(new, total, out=new, where=total > 0))


FER2013 = LabelSet(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
"""The seven labels of FER-2013 (Goodfellow et al., 2013), in the order of its file."""

FERPLUS = LabelSet((*FER2013.names, "contempt"))
"""The eight emotions of FER+ (Barsoum et al., 2016): FER-2013's seven in their order, then contempt."""
