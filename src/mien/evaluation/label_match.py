"""Labels of the data brought together with those of the model, and what to do where they differ."""

import difflib
import json
import shlex
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from mien.data.faceset import FaceSet, move_split
from mien.data.rows import EXPRESSION_WORDS
from mien.errors import MienError
from mien.labels import LabelSet

BLANK = "?"
"""What stands where a label of the data is to be filled in."""

FURTHER_WORDS = {
    "joy": "happy",
    "smile": "happy",
    "smiling": "happy",
    "amusement": "happy",
    "grief": "sad",
    "sorrow": "sad",
    "crying": "sad",
    "rage": "angry",
    "mad": "angry",
    "terror": "fear",
    "scared": "fear",
    "astonished": "surprise",
    "amazed": "surprise",
    "calm": "neutral",
    "nonexpression": "neutral",
}
"""What other data call the expressions; not the same, so they are proposed only, and never taken as such."""


def with_labels(faces: FaceSet, labels: Mapping[str, Sequence[str]], model: LabelSet | None = None) -> FaceSet:
    """Merge or rename labels of the data as the user says.

    Args:
        faces: the data.
        labels: for a label of the model the labels of the data that stand for it.
        model: the model's labels, where they are known.

    Raises:
        MienError: if the data lack one of these, one stands twice, or one is another label of the model's, whose answers would
            then count as wrong where they are right.
    """
    for name, members in labels.items():
        if own := [member for member in members if member != name and model and member in model.names]:
            raise MienError(
                f"--labels counts {own[0]} as {name}, but {own[0]} is an answer of the model too, and would count as wrong; "
                f"merge only labels that the model does not know, or train with --recipe.merge."
            )
    try:
        return faces.merge(labels)
    except MienError as problem:
        raise MienError(f"--labels does not fit the data, which have {', '.join(faces.labels)}: {problem}") from None


def match_labels(labels: LabelSet, data: FaceSet, merged: Mapping[str, Sequence[str]] | None = None) -> np.ndarray:
    """Put the targets of the data into the model's label order, matching by name.

    A label of the data that no row has a share in needs no partner.

    Args:
        labels: the model's K label names.
        data: the rows.
        merged: what `with_labels` was told before, to be said again in the advice.

    Returns:
        Targets, (N, K), float32.

    Raises:
        MienError: if rows bear labels that the model lacks; the sentence names what is missing on either side, and the flag
            that brings them together.
    """
    used = [name for column, name in enumerate(data.labels) if data.targets[:, column].any()]
    if lacking := [name for name in used if name not in labels.names]:
        raise MienError(_differ(labels, data, lacking, merged or {}))
    targets = np.zeros((len(data), len(labels)), dtype=np.float32)
    for name in used:
        targets[:, labels.index(name)] = data.targets[:, data.labels.index(name)]
    return targets


def _differ(labels: LabelSet, data: FaceSet, lacking: list[str], merged: Mapping[str, Sequence[str]]) -> str:
    """Say which labels are missing on which side, and what can be done about it."""
    absent = [name for name in labels if name not in data.labels.names]
    partners = _partners(labels, data, lacking, absent)
    said = {name: list(members) for name, members in merged.items()}
    for name, members in partners.items():
        said[name] = said.get(name, []) + [member for member in members if member != name or name not in merged]
    flag = f"--labels {shlex.quote(json.dumps(said, ensure_ascii=False))}"
    text = f"The labels differ: the model does not know {', '.join(lacking)}, which the data have"
    if absent:
        named = {name for members in partners.values() for name in members}
        left = [] if BLANK in named else [name for name in lacking if name not in named]
        return (
            f"{text}, and the data lack {', '.join(absent)}, which it knows ({', '.join(labels)}). "
            f"Say which of the data's labels stand for which of the model's: {flag}"
            + (f", with labels of the data in place of {BLANK}" if BLANK in named else ", if that is right")
            + (f"; add {', '.join(left)} to one of them, or leave them out with faces.keep([...]) in Python." if left else ".")
        )
    kept, them = ", ".join(map(repr, labels)), "it" if len(lacking) == 1 else "them"
    votes = " It comes with FER+ votes: read the data without --data.votes, or" if lacking == ["contempt"] else " Either"
    return (
        f"{text}; it knows {', '.join(labels)}.{votes} count {them} as another label, such as {flag}, or leave {them} out with "
        f"faces.keep([{kept}]) in Python, or train a model on such data; "
        f'with --recipe.keep "[{", ".join(labels)}]" it keeps to these labels whenever it is measured.'
    )


def _partners(labels: LabelSet, data: FaceSet, lacking: list[str], absent: list[str]) -> dict[str, list[str]]:
    """Guess which labels of the model those of the data stand for: by a synonym, by likeness, or as the last ones left.

    What cannot be guessed is left blank, for a wrong guess that is copied would be measured.
    """
    guessed = {name: _partner(name, absent or labels.names) for name in lacking}
    unknown = [name for name, partner in guessed.items() if not partner]
    free = [name for name in absent if name not in guessed.values()]
    if len(unknown) == len(free) == 1 or not absent:
        guessed |= dict.fromkeys(unknown, (free or labels.names)[-1])
        unknown = []
    groups: dict[str, list[str]] = {}

    def add(partner: str, name: str) -> None:
        groups.setdefault(partner, [partner] if partner in data.labels.names else []).append(name)

    for name, partner in guessed.items():
        if partner:
            add(partner, name)
    for partner in free if unknown else ():
        add(partner, BLANK)
    return {name: groups[name] for name in labels if name in groups}


def _partner(name: str, choices: Sequence[str]) -> str:
    """Find the label that a name stands for, or nothing."""
    word = name.casefold()
    for synonym in (EXPRESSION_WORDS.get(word), FURTHER_WORDS.get(word)):
        if synonym in choices:
            return str(synonym)
    return next(iter(difflib.get_close_matches(word, choices, n=1, cutoff=0.75)), "")


# Data brought to the labels and the splits of a model before it is measured on them.


def fit_to_model(recipe: str, labels: LabelSet, faces: FaceSet) -> FaceSet:
    """Merge and keep labels as the model's recipe did, where the data have the labels that it was made from.

    Where it was validated on rows carved from training, the data's own validation rows were test rows to it, and are here.
    Contempt is left out where it is all that the model lacks: FER+ has votes for it, FER-2013 no label. On stderr stands how
    many rows that leaves out, and what became test rows.

    Args:
        recipe: the model's recipe as YAML text; empty where it has none.
        labels: the model's label names.
        faces: the data.
    """
    import yaml

    made = yaml.safe_load(recipe) or {}
    if made.get("own_validation") is False and "validation" in faces.split_names:
        faces = move_split(faces, "validation", "test")
        print("the model was validated on training rows of its own: the data's validation rows are test rows", file=sys.stderr)
    merge, keep = made.get("merge") or {}, made.get("keep") or []
    if {member for members in merge.values() for member in members}.issubset(faces.labels.names):
        faces = faces.merge(merge) if merge else faces
    if "contempt" not in labels.names and {*labels.names, "contempt"} == set(faces.labels.names):
        keep = labels.names
    if keep and set(keep) < set(faces.labels.names):
        kept = faces.keep(keep)
        print(f"the model knows {', '.join(keep)}: {len(faces) - len(kept):,} rows of other labels left out", file=sys.stderr)
        return kept
    return faces
