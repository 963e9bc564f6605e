"""Train variants of one recipe with several seeds, and write what each brings and whether that is more than chance.

    python benchmarks/study.py imbalance --data fer2013.csv --out runs/imbalance --table docs/imbalance.md
    python benchmarks/study.py ablations --data fer2013.csv --votes fer2013new.csv --out runs/ablations

--jobs trains several side by side, --minutes ends the command in time, and the same command continues. Every seed is trained
for all variants before the next one, so that with fewer --seeds the study is smaller and still complete.
"""

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

import mien
from mien.errors import load_table
from mien.evaluation.audit import inspect, rows_to_leave_out
from mien.evaluation.comparison import Answers, read_answers, summarise
from mien.evaluation.plots import markdown_table
from mien.evaluation.record import read_log
from mien.files import write_whole
from mien.training.recipe import Recipe
from shared import Training, epoch_faces, parse, train_all

FIGURES = ("accuracy", "macro-F1", "recall")  # of every variant; recall is that of one label
RESAMPLES = 2000  # so that each end of a 95% interval is the 50th value from its side
INTERVAL = "{}, {} to {}"


@dataclass(frozen=True)
class Study:
    """What is varied, and on what; the first variant is the one the others are compared with."""

    title: str
    introduction: str
    recipe: str
    variants: dict[str, dict[str, Any]]  # what each changes of the recipe
    base: dict[str, Any] = field(default_factory=dict)  # what all change of it
    base_in_words: str = ""


STUDIES = {name: Study(**each) for name, each in load_table(__file__).items()}
# how some variants change the faces; the last as `mien audit --write` lists
FACES: dict[str, Callable[[mien.FaceSet], mien.FaceSet]] = {
    "equalised histograms": lambda faces: replace(faces, images=np.stack([*map(cv2.equalizeHist, faces.images)])),
    "without audited rows": lambda faces: faces.take(np.delete(np.arange(len(faces)), list(rows_to_leave_out(inspect(faces))))),
}


def varied(base: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Change keys of a recipe, of its parts those that are given."""
    parts = {key: replace(getattr(base, key), **value) for key, value in changes.items() if isinstance(value, dict)}
    return replace(base, **{**changes, **parts})


class Estimate(NamedTuple):
    """A value with its 95% interval, percentiles over the resamples."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


class VariantFigure(NamedTuple):
    """One figure of a variant: the mean over seeds, its difference from that of the first variant, and each seed's own."""

    mean: Estimate
    difference: Estimate
    by_seed: tuple[float, ...]


def compare_variants(
    answers: Mapping[str, list[Answers]], label: str, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, VariantFigure]]:
    """Compute the `FIGURES` of variants, and compare them with the first one's, by a paired bootstrap over the rows.

    Rows are drawn with replacement, the same for all models, and in each resample a variant's figures are averaged over its
    seeds. So the intervals describe how figures change with the rows; `by_seed` shows how they change with the seed. Resamples
    without rows of `label` are ignored for its recall. Memory is 8 bytes for each resample and each row.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993 (percentile intervals).
    """
    every = [each for models in answers.values() for each in models]
    first = every[0]
    if any((each.ids, each.labels, each.truth.tolist()) != (first.ids, first.labels, first.truth.tolist()) for each in every):
        raise mien.MienError("These runs were not all measured on the same rows; a paired comparison needs that.")
    if len({len(models) for models in answers.values()}) > 1:
        raise mien.MienError("Every variant needs the same seeds; train those that are missing.")
    if label not in first.labels or first.labels.index(label) not in first.truth:
        raise mien.MienError(f"No row has the label {label!r}, so it has no recall.")

    count = len(first.truth)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    weights = np.concatenate([np.ones((1, count)), drawn])  # every row once, then the resamples
    predicted = np.stack([each.predicted for each in every])
    figures = compute_figures(weights, first.truth, predicted, first.labels.index(label))
    figures = figures.reshape(len(weights), len(answers), -1, len(FIGURES))  # (1 + resamples, variants, seeds, FIGURES)
    means = figures.mean(axis=2)
    return {
        variant: {
            name: VariantFigure(
                _estimate(means[:, v, f]), _estimate(means[:, v, f] - means[:, 0, f]), tuple(figures[0, v, :, f].tolist())
            )
            for f, name in enumerate(FIGURES)
        }
        for v, variant in enumerate(answers)
    }


def compute_figures(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray, label: int) -> np.ndarray:
    """Compute the figures of R models by matrix products, for B ways to count N rows.

    From weights (B, N), float64, labels (N,), predicted labels (R, N) and the label of the recall to (B, R, 3), in the order of
    `FIGURES`; NaN for the recall of a label without rows.
    """
    every = np.arange(max(truth.max(), predicted.max()) + 1)
    is_true = truth == every[:, None]  # (K, N)
    is_predicted = predicted[:, None] == every[:, None]  # (R, K, N)
    support = (weights @ is_true.T)[:, None]  # (B, 1, K)
    hits, given = (np.einsum("bn,rkn->brk", weights, flags, optimize=True) for flags in (is_predicted & is_true, is_predicted))
    has_rows = support > 0
    f1 = np.divide(2 * hits, support + given, out=np.zeros_like(hits), where=has_rows)
    recall = np.divide(hits, support, out=np.full_like(hits, np.nan), where=has_rows)
    accuracy = hits.sum(axis=2) / weights.sum(axis=1)[:, None]
    return np.stack([accuracy, f1.sum(axis=2) / has_rows.sum(axis=2), recall[:, :, label]], axis=2)


def _estimate(values: np.ndarray) -> Estimate:
    """Estimate from the observed value, followed by those of the resamples."""
    return Estimate(float(values[0]), *np.nanpercentile(values[1:], [2.5, 97.5]).tolist())


def write_up(study: Study, runs: Mapping[str, list[Path]], command: str) -> str:
    """Write heading, introduction, caption, tables and findings."""
    summaries = [summarise(folder) for folders in runs.values() for folder in folders]
    lengths = [each.epochs for each in summaries if each.epochs]
    first, reference = summaries[0], next(iter(runs))
    rare = min((label for label in first.support if first.support[label]), key=lambda label: first.support[label])
    answers = {name: [read_answers(folder / "report" / "predictions.csv") for folder in runs[name]] for name in runs}
    figures = compare_variants(answers, rare)
    names = ("accuracy", "macro-F1", f"recall of {rare}")
    epochs = " to ".join(f"{each}" for each in sorted({min(lengths), max(lengths)}))
    where = "; ".join(dict.fromkeys(each.hardware or "hardware unknown" for each in summaries))
    chosen = "; each run's best epoch was chosen on the same rows" if first.split == "validation" else ""

    def table(head: str, write: Callable[[str, VariantFigure], str], skip: int = 0) -> str:
        rows = [[variant, *(write(name, figures[variant][name]) for name in FIGURES)] for variant in figures]
        return markdown_table([[head, *names], *rows[skip:]])

    paragraphs = [
        f"# {study.title}",
        f"{study.introduction} The network is `{first.network}`, and everything else is the same.",
        f"Recipe `{study.recipe}`{study.base_in_words}; epochs: {epochs}; seeds: {len(runs[reference])}; trained on: {where}. "
        f"Measured on {first.rows:,} {first.split} rows ({first.support[rare]:,} of {rare}){chosen}. Written by: `{command}`",
        table("mean over seeds, 95% interval", lambda name, each: written(INTERVAL, name, each.mean)),
        table(f"difference to {reference}, 95% interval", lambda name, each: written(INTERVAL, name, each.difference, True), 1),
        table("seeds, lowest to highest", lambda name, each: written("{} to {}", name, (min(each.by_seed), max(each.by_seed)))),
        f"Intervals are percentiles over {RESAMPLES:,} resamples of the rows, each the same for all variants, "
        "with figures averaged over the seeds. They show the effect of the rows, not of the seeds: for these see the "
        "last table. Differences of accuracy and recall are in points.",
        "\n".join([*findings(figures, names), *longer_epochs(runs)]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def written(form: str, name: str, values: Iterable[float], change: bool = False) -> str:
    """Fill in values of a figure: macro-F1 as it is, others in percent, changes of them in points."""
    plain, changed = ("{:.3f}", "{:+z.3f}") if name == "macro-F1" else ("{:.1%}", "{:+z.1f}")
    scale = 100 if change and name != "macro-F1" else 1
    return form.format(*((changed if change else plain).format(scale * value) for value in values))


def findings(figures: Mapping[str, Mapping[str, VariantFigure]], names: tuple[str, ...]) -> list[str]:
    """List for each figure which variants differ from the first beyond their interval, and what chance alone would do."""
    reference, *others = figures
    lines = []
    for name, title in zip(FIGURES, names, strict=True):
        differing, alike = [], []
        for variant in others:
            difference = figures[variant][name].difference
            if not difference.excludes_zero:
                alike.append(f"`{variant}`")
                continue
            by_seed = np.subtract(figures[variant][name].by_seed, figures[reference][name].by_seed)
            agreeing = np.count_nonzero(np.sign(by_seed) == np.sign(difference.value))
            word = "higher" if difference.value > 0 else "lower"
            change = written(INTERVAL, name, difference, change=True)
            differing.append(f"`{variant}` is {word} ({change}; in {agreeing} of {len(by_seed)} seeds)")
        sentences = [f"{'; '.join(differing)}."] if differing else []
        sentences += [f"No difference to `{reference}` beyond the interval: {', '.join(alike)}."] if alike else []
        lines.append(f"- {title[0].upper()}{title[1:]}: {' '.join(sentences)}")
    count = len(others) * len(FIGURES)
    return [*lines, f"- Of {count} intervals of differences, about {count * 0.05:.1f} would miss zero by chance alone."]


def longer_epochs(runs: Mapping[str, list[Path]]) -> list[str]:
    """List the variants whose epochs have more faces than the first's."""
    logs = {variant: read_log(folders[0] / "log.csv", ("seconds", "images_per_second")) for variant, folders in runs.items()}
    faces = {variant: round(float(np.median(log["seconds"] * log["images_per_second"]))) for variant, log in logs.items()}
    reference, *others = faces
    return [
        f"- An epoch of `{variant}` goes through {faces[variant]:,} faces, one of `{reference}` through {faces[reference]:,}: "
        f"about {faces[variant] / faces[reference]:.1f} times the steps, so at equal epochs it is trained longer."
        for variant in others
        if faces[variant] > faces[reference]
    ]


if __name__ == "__main__":
    options = {"seeds": 3, "epochs": 0, "device": "auto", "threads": 0, "minutes": 0.0, "jobs": 1}
    arguments = parse(__doc__, "study", data=str, votes=None, out=Path, table=None, **options)
    study = STUDIES.get(arguments.study)
    if study is None or arguments.seeds < 1:
        raise mien.MienError(f"Give a study ({', '.join(STUDIES)}), and --seeds of 1 or more.")
    base = varied(mien.load_recipe(study.recipe), {**study.base, **({"epochs": arguments.epochs} if arguments.epochs else {})})
    votes = {"votes": arguments.votes, "votes_as": "beside"} if arguments.votes else {}
    source = mien.DataSource(arguments.data, **votes)
    faces = mien.read_faces(source, base.size, base.channels)
    change = cache(lambda variant: FACES[variant](faces))
    trainings: dict[str, list[Training]] = {variant: [] for variant in study.variants}
    for seed in range(arguments.seeds):
        for variant, changes in study.variants.items():
            folder = arguments.out / f"{variant.replace(' ', '-').replace(',', '')}-{seed}"
            recipe = replace(varied(base, changes), seed=seed)
            run = Training(folder, recipe, source, epoch_faces(recipe, faces)[0])
            is_changed = variant in FACES and not run.is_finished()
            trainings[variant].append(replace(run, data=change(variant)) if is_changed else run)
    plan = [run for of_seed in zip(*trainings.values(), strict=True) for run in of_seed]
    if not train_all(plan, arguments.jobs, arguments.device, arguments.minutes, arguments.threads):
        sys.exit(1)
    runs = {variant: [run.folder for run in group] for variant, group in trainings.items()}
    text = write_up(study, runs, shlex.join(["python", "benchmarks/study.py", *sys.argv[1:]]))
    if arguments.table:
        write_whole(Path(arguments.table), lambda part: part.write_text(text, encoding="utf-8"))
    else:
        print(text, end="")
