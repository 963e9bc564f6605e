"""Labels of the data matched with those of the model, and what to do if they differ."""

import json
import shlex
from dataclasses import replace

import numpy as np

from mien import labels as vocabulary
from mien.data.faceset import FaceSet, move_split
from mien.data.rows import numbered_labels
from mien.errors import MienError, load_templates, say, suggestion
from mien.inputs import parse_yaml
from mien.labels import LabelMap, LabelSet, label_changes, label_groups, select_changes

BLANK = "?"  # placeholder for a label of the data that the user must fill in: a copied wrong guess would be measured


def with_labels(faces: FaceSet, labels: LabelMap) -> FaceSet:
    """Merge, rename or leave out labels of the data as the user asks; MienError if the map does not fit the data."""
    try:
        return faces.merge(labels)
    except MienError as problem:
        raise MienError(f"--labels does not fit the data, which have {', '.join(faces.labels)}: {problem}") from None


def fit_to_model(recipe: str, labels: LabelSet, faces: FaceSet, given: LabelMap | None = None) -> FaceSet:
    """Merge, rename and leave out labels of the data as the user asks and as the model needs, and report it on stderr."""
    # in this order: the `given` changes of labels of the data, those that the model's recipe (YAML, or "") merges, the given
    # changes that only the model knows, other names of the model's labels. Nothing is left out if almost no label is known, or
    # one may be a label that the data lack: `match_labels` explains that
    made = parse_yaml(recipe or "{}", "The recipe in the model file")
    given, merge = given or {}, dict(label_changes(made.get("merge") or {}))
    data_labels, of_model = faces.labels, select_changes(given, labels.find)
    of_data = select_changes(given, lambda name: data_labels.find(name) or not labels.find(name))
    faces = with_labels(faces, of_data) if of_data else faces
    labels, _ = labels.merge(of_model)
    for new in [new for _, new in label_changes(given) if new is not None]:
        LabelSet(dict.fromkeys((*labels, *merge))).index(new)
    if made.get("own_validation") is False and "validation" in faces.split_names:
        faces = move_split(faces, "validation", "test")
        say("the model was validated on rows carved from training: the data's validation rows are test rows")
    if merge := {own: new for name, new in merge.items() if (own := faces.labels.find(name))}:
        faces = faces.merge(merge)
    if later := select_changes(of_model, lambda name: not data_labels.find(name) and faces.labels.find(name)):
        faces = faces.merge(later)
    if other := {name: own for name in faces.labels if (own := labels.find(name)) not in (name, None)}:
        faces = faces.merge(other)
    used = [name for name, shares in zip(faces.labels, faces.targets.T, strict=True) if shares.any()]
    unknown, absent = ([name for name in ones if name not in others] for ones, others in ((used, labels), (labels, used)))
    doubtful = [name for name in unknown if not (vocabulary.meaning(name) or vocabulary.is_no_expression(name))]
    guesses = _guess_partners(labels, doubtful, absent) if doubtful and absent and not made.get("keep") else {}
    too_few = len(used) - len(unknown) < (2 if doubtful else 1)
    if not unknown or too_few or any(members != [BLANK] for members in guesses.values()):
        return faces
    order = labels.names if made.get("keep") else faces.labels.names
    kept = faces.keep([name for name in order if name in faces.labels.names and name in labels.names])
    without = f"{len(faces) - len(kept):,} rows of other labels left out ({', '.join(unknown)})"
    say(f"the model knows {', '.join(labels)}: {without}; to map one: {_flag({unknown[0]: labels[-1]})}")
    return replace(kept, origin=replace(kept.origin, kind=f"{kept.origin.kind}, without {', '.join(unknown)}"))


def match_labels(labels: LabelSet, data: FaceSet, merged: LabelMap | None = None) -> np.ndarray:
    """Put the targets of the data into the model's label order, by name: (N, K), float32; labels without rows need no match."""
    used = [name for name, shares in zip(data.labels, data.targets.T, strict=True) if shares.any()]
    if lacking := [name for name in used if name not in labels.names]:
        raise MienError(_explain_difference(labels, data, lacking, merged or {}))
    targets = np.zeros((len(data), len(labels)), dtype=np.float32)
    targets[:, [labels.index(name) for name in used]] = data.targets[:, [data.labels.index(name) for name in used]]
    return targets


def _explain_difference(labels: LabelSet, data: FaceSet, lacking: list[str], merged: LabelMap) -> str:
    """Name the labels that are missing on either side, and what can be done about it."""
    absent = [name for name in labels if name not in data.labels.names]
    partners = _guess_partners(labels, lacking, absent)
    mapping = label_groups(merged)
    for name, members in partners.items():
        own = [name] if name in data.labels.names else []
        mapping[name] = [*(mapping.get(name) or own), *members]
    named = {name for members in partners.values() for name in members}
    left = [] if BLANK in named else [name for name in lacking if name not in named]
    mapping |= dict.fromkeys(left)
    numbers = {name: _flag({n: table[n] for n in lacking if n in table}) for name, table in numbered_labels(lacking).items()}
    found = {"labels": labels, "lacking": lacking, "absent": absent, "numbers": numbers, "left": left}
    flags = {"mapping": _flag(mapping), "without": _flag(dict.fromkeys(lacking)), "blank": BLANK if BLANK in named else ""}
    return load_templates(__file__, "page").get_template("labels_differ.txt").render(**found, **flags)


def _flag(mapping: LabelMap) -> str:
    return f"--labels {shlex.quote(json.dumps(mapping, ensure_ascii=False))}"


def _guess_partners(labels: LabelSet, lacking: list[str], absent: list[str]) -> dict[str, list[str]]:
    """Guess the labels of the data for each label of the model: by synonym, by similarity, or as the last left on each side."""
    guessed = dict.fromkeys(lacking, "")
    for name in lacking:
        word, choices = name.casefold(), absent or labels.names
        similar = next((label for label, words in vocabulary.SIMILAR_WORDS.items() if word in words.split()), "")
        synonyms = [synonym for synonym in (vocabulary.meaning(word), similar) if synonym in choices]
        guessed[name] = synonyms[0] if synonyms else suggestion(word, choices, phrase="{}", cutoff=0.75)
    unknown = [name for name, partner in guessed.items() if not partner]
    free = [name for name in absent if name not in guessed.values()]
    if len(unknown) == len(free) == 1 or not absent:
        guessed |= dict.fromkeys(unknown, (free or labels.names)[-1])
        unknown = []
    groups = {label: [name for name, partner in guessed.items() if partner == label] for label in labels}
    return {label: members or [BLANK] for label, members in groups.items() if members or (unknown and label in free)}
