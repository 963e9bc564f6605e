"""Train on few faces from several starts, and write the accuracies on other faces as Markdown tables.

    python benchmarks/few_faces.py faces fer2013.csv --out runs/few --table few.md

The table is written after every run, with the sizes that are complete; the same command continues.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

import mien
from mien.data.faceset import limited
from mien.errors import load_table
from mien.evaluation.plots import markdown_table
from mien.files import write_whole
from mien.training import loop
from shared import parse, say

STARTS = load_table(__file__)
SIZES = (70, 350, 1400)  # training faces, drawn by the seed
MEASURED, WATCHED = 1001, 70  # validation faces to measure on, and those of them that training logs and calibrates on
Answers = dict[tuple[str, int, str], list[np.ndarray]]  # by data, size and start: for each seed the right answers (N,)


def train(folder: Path, recipe: mien.Recipe, faces: mien.FaceSet, size: int, measured: mien.FaceSet) -> Path:
    """Train on so many faces unless the model is there."""
    if not (folder / "model.onnx").is_file():
        used = limited(faces.split("train"), size, recipe.seed), limited(measured, WATCHED)
        rows = np.isin(faces.ids, np.concatenate([each.ids for each in used]))
        loop.train(recipe, faces.take(rows), folder, resume=True, device="cpu", threads=1, quiet=True)
    return folder


def right(model: Path | str, faces: mien.FaceSet) -> np.ndarray:
    """Whether each answer of a model is right: (N,), float64."""
    probabilities = mien.Classifier(model, threads=1, head="label").predict_proba(faces.images)
    return np.asarray(probabilities.argmax(axis=1) == faces.classes, dtype=float)


def mean(rows: np.ndarray, form: str = "{:.1f}%") -> str:
    """Write the mean of rows (N,), with its 95% interval over them, in percent or points."""
    centre, margin = 100 * rows.mean(), 196 * rows.std(ddof=1) / len(rows) ** 0.5
    return f"{form} ({form} to {form})".format(centre, centre - margin, centre + margin)


def write_up(answers: Answers, before: dict[str, np.ndarray], seeds: int) -> str:
    """Write a table for each data: accuracies averaged over the seeds, and paired differences to the first start."""
    parts = []
    for data, unchanged in before.items():
        sizes = [n for n in SIZES if all(len(answers.get((data, n, start), ())) == seeds for start in STARTS)]
        rows = [[f"`{Path(data).name}`, {len(unchanged):,} faces", *(f"{n:,} faces" for n in sizes)]]
        rows += [["the embedded model, unchanged", *[mean(unchanged)] * len(sizes)]]
        first = {n: np.mean(answers[data, n, next(iter(STARTS))], axis=0) for n in sizes}
        for start in STARTS:
            means = {n: np.mean(answers[data, n, start], axis=0) for n in sizes}
            spans = {n: [100 * each.mean() for each in answers[data, n, start]] for n in sizes}
            rows.append([start, *(f"{mean(means[n])}, seeds {min(spans[n]):.1f} to {max(spans[n]):.1f}" for n in sizes)])
            rows += [["- less the first", *(mean(means[n] - first[n], "{:+.1f}") for n in sizes)]] * (len(rows) > 3)
        parts.append(markdown_table(rows))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    arguments = parse(__doc__, "data +", out=Path, table=Path, seeds=3)
    faces = {data: mien.read_faces(data) for data in arguments.data}
    measured = {data: limited(each.split("validation"), MEASURED) for data, each in faces.items()}
    before, answers = {data: right("mien-s", each) for data, each in measured.items()}, Answers()
    for size, data, seed, (start, (name, changes)) in product(SIZES, faces, range(arguments.seeds), STARTS.items()):
        recipe = replace(mien.load_recipe(name), **changes, seed=seed)
        folder = arguments.out / f"{Path(data).stem}-{size}-{list(STARTS).index(start)}-{seed}"
        found = right(train(folder, recipe, faces[data], size, measured[data]), measured[data])
        answers.setdefault((data, size, start), []).append(found)
        say(f"{folder.name}: {found.mean():.1%}")
        write_whole(arguments.table, lambda part: part.write_text(write_up(answers, before, arguments.seeds)))
