"""Train variants of one recipe with several seeds, and write what each brings and whether that is more than chance.

    python benchmarks/study.py imbalance --data fer2013.csv --out runs/imbalance --table docs/imbalance.md
    python benchmarks/study.py activations --data fer2013.csv --out runs/activations --table docs/activations.md
    python benchmarks/study.py ablations --data fer2013.csv --votes fer2013new.csv --out runs/ablations

Interrupted, it goes on where it stopped; a run that is finished is not trained again. Every seed is trained for all variants
before the next one, so that with fewer --seeds the study is smaller and still whole.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import mien
from finished import is_finished
from mien.evaluation.comparison import read_answers
from mien.evaluation.report import markdown_table
from mien.evaluation.run_summary import RunSummary, read_log, summarise
from mien.files import write_whole
from mien.training.recipe import Recipe
from studies import STUDIES, Study
from variants import FIGURES, RESAMPLES, Estimate, VariantFigure, compare_variants


def main() -> None:
    """Train what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", help="FER+ votes (fer2013new.csv), for a study that needs them")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the runs")
    parser.add_argument("--table", type=Path, help="a Markdown file to write; standard output, if not given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of each run; the recipe's, if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error("--seeds must be at least 1")

    study = STUDIES[arguments.study]
    if study.needs_votes and not arguments.votes:
        parser.error("this study needs --votes fer2013new.csv")
    base = study.base(mien.load_recipe(study.recipe))
    base = replace(base, epochs=arguments.epochs or base.epochs)
    runs: dict[str, list[Path]] = {variant: [] for variant in study.variants}
    try:
        source = mien.DataSource(arguments.data)
        if study.needs_votes:
            source = replace(source, votes=arguments.votes, votes_as="beside")
        data = mien.read_faces(source, base.size, base.channels)
        for seed in range(arguments.seeds):
            for variant, change in study.variants.items():
                run = arguments.out / f"{variant.replace(' ', '-').replace(',', '')}-{seed}"
                print(f"== {variant}, seed {seed}: {run}", file=sys.stderr)
                faces = study.faces.get(variant, lambda same: same)
                train(replace(change(base), seed=seed), partial(faces, data), run, arguments.device, arguments.threads)
                runs[variant].append(run)
        text = write_up(study, runs, shlex.join(["python", "benchmarks/study.py", *sys.argv[1:]]))
    except mien.MienError as mistake:
        sys.exit(f"study: {mistake}")
    if arguments.table:
        write_whole(arguments.table, lambda part: part.write_text(text, encoding="utf-8"))
    else:
        print(text, end="")


def train(recipe: Recipe, data: Callable[[], mien.FaceSet], run: Path, device: str, threads: int | None) -> None:
    """Train a run, go on with it, or, where it is finished, make sure that it is the one that is wanted.

    Raises:
        MienError: if the finished run in this folder had another recipe.
    """
    if not is_finished(run, recipe):
        mien.train(recipe, data(), run, resume=run.exists(), device=device, threads=threads)


def write_up(study: Study, runs: Mapping[str, list[Path]], command: str) -> str:
    """Write heading, introduction, caption, tables and findings."""
    summaries = {variant: [summarise(run) for run in paths] for variant, paths in runs.items()}
    first = next(iter(summaries.values()))[0]
    rare = min((label for label in first.support if first.support[label]), key=lambda label: first.support[label])
    answers = {variant: [read_answers(run / "report" / "predictions.csv") for run in paths] for variant, paths in runs.items()}
    figures = compare_variants(answers, rare)
    reference = next(iter(figures))
    names = ("accuracy", "macro-F1", f"recall of {rare}")
    paragraphs = [
        f"# {study.title}",
        f"{study.introduction} The network is `{first.network}`, and everything else is the same.",
        caption(study, summaries, rare, command),
        markdown_table(
            [["mean over seeds, 95% interval", *names], *rows(figures, lambda name, each: interval(name, each.mean))]
        ),
        markdown_table(
            [
                [f"difference to {reference}, 95% interval", *names],
                *rows(figures, lambda name, each: interval(name, each.difference, change=True))[1:],
            ]
        ),
        markdown_table([["seeds, lowest to highest", *names], *rows(figures, lambda name, each: spread(name, each.by_seed))]),
        f"Intervals are percentiles over {RESAMPLES:,} resamples of the rows, each the same for all variants, "
        "with figures averaged over the seeds. They say how far the rows decide, not how far the seeds do: for these see the "
        "last table. Differences of accuracy and recall are in points.",
        "\n".join([*findings(figures, names), *longer_epochs(runs)]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def caption(study: Study, summaries: Mapping[str, list[RunSummary]], rare: str, command: str) -> str:
    """Say how the runs were made and what they were measured on, from the runs themselves."""
    every = [each for runs in summaries.values() for each in runs]
    epochs, seeds, first = sorted({each.epochs for each in every}), len(next(iter(summaries.values()))), every[0]
    count = f"{epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else f"{epochs[0]}"
    hardware = "; ".join(dict.fromkeys(each.hardware or "hardware unknown" for each in every))
    chosen = "; each run's best epoch was chosen on the same rows" if first.split == "validation" else ""
    return (
        f"Recipe `{study.recipe}`{study.base_in_words}; epochs: {count}; seeds: {seeds}; trained on: {hardware}. "
        f"Measured on {first.rows:,} {first.split} rows ({first.support[rare]:,} of {rare}){chosen}. Written by: `{command}`"
    )


def rows(figures: Mapping[str, Mapping[str, VariantFigure]], write: Callable[[str, VariantFigure], str]) -> list[list[str]]:
    """Write a row a variant, with a cell a figure."""
    return [[variant, *(write(name, of_variant[name]) for name in FIGURES)] for variant, of_variant in figures.items()]


def number(name: str, value: float, change: bool = False) -> str:
    """Write a figure: macro-F1 as it is, others in percent, changes of them in points."""
    if name == "macro-F1":
        return f"{value:+z.3f}" if change else f"{value:.3f}"
    return f"{value * 100:+z.1f}" if change else f"{value:.1%}"


def interval(name: str, estimate: Estimate, change: bool = False) -> str:
    """Write a figure with its interval."""
    value, low, high = (number(name, each, change) for each in (estimate.value, estimate.low, estimate.high))
    return f"{value}, {low} to {high}"


def spread(name: str, by_seed: tuple[float, ...]) -> str:
    """Write the lowest and the highest figure."""
    return f"{number(name, min(by_seed))} to {number(name, max(by_seed))}"


def findings(figures: Mapping[str, Mapping[str, VariantFigure]], names: tuple[str, ...]) -> list[str]:
    """Say for each figure which variants differ from the first beyond their interval, and what chance alone would do."""
    reference, *others = figures
    lines = []
    for name, title in zip(FIGURES, names, strict=True):
        base = figures[reference][name].by_seed
        differing, alike = [], []
        for variant in others:
            found = figures[variant][name]
            if not found.difference.excludes_zero:
                alike.append(f"`{variant}`")
                continue
            sign = np.sign(found.difference.value)
            agreeing = sum(np.sign(ours - theirs) == sign for ours, theirs in zip(found.by_seed, base, strict=True))
            word = "higher" if sign > 0 else "lower"
            change = interval(name, found.difference, change=True)
            differing.append(f"`{variant}` is {word} ({change}; in {agreeing} of {len(base)} seeds)")
        told = [f"{'; '.join(differing)}."] if differing else []
        told += [f"No difference to `{reference}` beyond the interval: {', '.join(alike)}."] if alike else []
        lines.append(f"- {title[0].upper()}{title[1:]}: {' '.join(told)}")
    count = len(others) * len(FIGURES)
    lines.append(
        f"- Of {count} intervals of differences, about {count * 0.05:.1f} would miss zero by chance if nothing differed."
    )
    return lines


def longer_epochs(runs: Mapping[str, list[Path]]) -> list[str]:
    """Say which variants see another number of faces in an epoch than the first."""
    faces = {}
    for variant, (run, *_) in runs.items():
        log = read_log(run / "log.csv", ("seconds", "images_per_second"))
        faces[variant] = round(float(np.median(log["seconds"] * log["images_per_second"])))
    reference, *others = faces
    return [
        f"- An epoch of `{variant}` goes through {faces[variant]:,} faces, one of `{reference}` through {faces[reference]:,}: "
        f"about {faces[variant] / faces[reference]:.1f} times the steps, so at equal epochs it is trained longer."
        for variant in others
        if faces[variant] > faces[reference]
    ]


if __name__ == "__main__":
    main()
