"""Labels of the data matched with those of the model, and what to do if they differ."""

import difflib
import json
import shlex
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import yaml

from mien.data.faceset import FaceSet, move_split
from mien.data.rows import EXPRESSION_WORDS
from mien.errors import MienError
from mien.labels import LabelSet

BLANK = "?"  # placeholder for a label of the data that the user must fill in

SIMILAR_WORDS = {
    "happy": ("joy", "smile", "smiling", "amusement"),
    "sad": ("grief", "sorrow", "crying"),
    "angry": ("rage", "mad"),
    "fear": ("terror", "scared"),
    "surprise": ("astonished", "amazed"),
    "neutral": ("calm", "nonexpression"),
}
"""Names of similar expressions in other data; they are suggested in error messages, but never applied by themselves."""


def with_labels(faces: FaceSet, labels: Mapping[str, Sequence[str]], model: LabelSet | None = None) -> FaceSet:
    """Merge or rename labels of the data as the user asks: for each label of the model, those of the data that map to it.

    MienError if the data lack one of these, one is listed twice, or one is itself another label of the model, if that is known:
    its correct predictions would count as wrong.
    """
    for name, members in labels.items():
        if own := [member for member in members if member != name and model and member in model.names]:
            raise MienError(
                f"--labels counts {own[0]} as {name}, but {own[0]} is a label of the model too, and predicting it would count "
                "as wrong; merge only labels that the model does not know, or train with --recipe.merge."
            )
    try:
        return faces.merge(labels)
    except MienError as problem:
        raise MienError(f"--labels does not fit the data, which have {', '.join(faces.labels)}: {problem}") from None


def fit_to_model(recipe: str, labels: LabelSet, faces: FaceSet) -> FaceSet:
    """Merge and keep labels as the model's recipe did, if the data have the labels that the recipe starts from.

    If the model was validated on rows carved from training, the data's own validation rows become test rows. Contempt is left
    out if it is the only label that the model lacks: FER+ has votes for it, FER-2013 has no such label. Both are reported on
    stderr. The recipe is YAML text, empty if the model has none.
    """
    made = yaml.safe_load(recipe) or {}
    if made.get("own_validation") is False and "validation" in faces.split_names:
        faces = move_split(faces, "validation", "test")
        print("the model was validated on rows carved from training: the data's validation rows are test rows", file=sys.stderr)
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


def match_labels(labels: LabelSet, data: FaceSet, merged: Mapping[str, Sequence[str]] | None = None) -> np.ndarray:
    """Put the targets of the data into the model's label order, matching by name: (N, K), float32.

    Labels without rows need no match. If rows have labels that the model lacks, MienError names those missing on either side
    and suggests a value of --labels that includes those `merged` before.
    """
    used = [name for column, name in enumerate(data.labels) if data.targets[:, column].any()]
    if lacking := [name for name in used if name not in labels.names]:
        raise MienError(_explain_difference(labels, data, lacking, merged or {}))
    targets = np.zeros((len(data), len(labels)), dtype=np.float32)
    for name in used:
        targets[:, labels.index(name)] = data.targets[:, data.labels.index(name)]
    return targets


def _explain_difference(labels: LabelSet, data: FaceSet, lacking: list[str], merged: Mapping[str, Sequence[str]]) -> str:
    """Name the labels that are missing on either side, and what can be done about it."""
    absent = [name for name in labels if name not in data.labels.names]
    partners = _guess_partners(labels, lacking, absent)
    mapping = {name: list(members) for name, members in merged.items()}
    for name, members in partners.items():
        own = [name] if name in data.labels.names else []
        mapping[name] = mapping.get(name, own) + members
    flag = f"--labels {shlex.quote(json.dumps(mapping, ensure_ascii=False))}"
    known, unknown = ", ".join(labels), ", ".join(lacking)
    if absent:
        named = {name for members in partners.values() for name in members}
        left = [] if BLANK in named else [name for name in lacking if name not in named]
        condition = f"with labels of the data in place of {BLANK}" if BLANK in named else "if that is correct"
        rest = f"; add {', '.join(left)} to one of them, or leave them out with faces.keep([...]) in Python" if left else ""
        return (
            f"The labels differ: the data have {unknown}, which the model does not know, and lack {', '.join(absent)} of the "
            f"model's labels ({known}). Map the labels of the data to those of the model: {flag}, {condition}{rest}."
        )
    them = "it" if len(lacking) == 1 else "them"
    votes = "The FER+ votes add it: read the data without --data.votes, or" if lacking == ["contempt"] else "Either"
    return (
        f"The labels differ: the data have {unknown}, which the model does not know ({known}). {votes} count {them} as another "
        f"label, such as {flag}, or leave {them} out with faces.keep([{', '.join(map(repr, labels))}]) in Python, or train a "
        f'model on such data; with --recipe.keep "[{known}]" it is measured on these labels only.'
    )


def _guess_partners(labels: LabelSet, lacking: list[str], absent: list[str]) -> dict[str, list[str]]:
    """Guess the labels of the data for each label of the model: by synonym, by similarity, or because one is left on each side.

    Others stay blank, since a wrong guess that is copied would be measured.
    """
    guessed = {name: _guess_partner(name, absent or labels.names) for name in lacking}
    unknown = [name for name, partner in guessed.items() if not partner]
    free = [name for name in absent if name not in guessed.values()]
    if len(unknown) == len(free) == 1 or not absent:
        guessed |= dict.fromkeys(unknown, (free or labels.names)[-1])
        unknown = []
    groups = {label: [name for name, partner in guessed.items() if partner == label] for label in labels}
    return {label: members or [BLANK] for label, members in groups.items() if members or (unknown and label in free)}


def _guess_partner(name: str, choices: Sequence[str]) -> str:
    """Find the label with the same meaning or a similar name; empty if there is none."""
    word = name.casefold()
    similar = next((label for label, words in SIMILAR_WORDS.items() if word in words), "")
    for synonym in (EXPRESSION_WORDS.get(word), similar):
        if synonym in choices:
            return str(synonym)
    return next(iter(difflib.get_close_matches(word, choices, n=1, cutoff=0.75)), "")
