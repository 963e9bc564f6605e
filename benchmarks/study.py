"""Train variants of one recipe with several seeds, and write one table of what each brings.

    python benchmarks/study.py imbalance --data fer2013.csv --out runs/imbalance --table docs/imbalance.md
    python benchmarks/study.py activations --data fer2013.csv --out runs/activations --table docs/activations.md

Interrupted, it goes on where it stopped; a run that is finished is not trained again.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import mien
from mien.evaluation.comparison import RunSummary, summarise
from mien.evaluation.proportion import proportion
from mien.training.recipe import Balance, Recipe

Change = Callable[[Recipe], Recipe]

STUDIES: dict[str, tuple[str, dict[str, Change]]] = {
    "imbalance": (
        "mien-s-quick",
        {
            "none": lambda recipe: recipe,
            "sampler": lambda recipe: replace(recipe, balance=Balance(sampler=True)),
            "class weights": lambda recipe: replace(recipe, balance=Balance(class_weights=True)),
            "augmented minorities": lambda recipe: replace(recipe, balance=Balance(augment_minorities=True)),
            "focal loss, gamma 2": lambda recipe: replace(recipe, focal_gamma=2.0),
        },
    ),
    "activations": (
        "mish-cnn",
        {
            "mish": lambda recipe: replace(recipe, activation="mish"),
            "swish": lambda recipe: replace(recipe, activation="swish"),
            "relu": lambda recipe: replace(recipe, activation="relu"),
            "leaky_relu": lambda recipe: replace(recipe, activation="leaky_relu"),
        },
    ),
}
"""For each study the recipe that is varied, and how."""


def main() -> None:
    """Train what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True, help="the folder for the runs")
    parser.add_argument("--table", type=Path, help="a Markdown file to write; standard output, if not given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of each run; the recipe's, if not given")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()

    name, variants = STUDIES[arguments.study]
    base = mien.load_recipe(name)
    base = replace(base, epochs=arguments.epochs or base.epochs)
    results: dict[str, list[RunSummary]] = {}
    for variant, change in variants.items():
        for seed in range(arguments.seeds):
            run = arguments.out / f"{variant.replace(' ', '-').replace(',', '')}-{seed}"
            print(f"== {variant}, seed {seed}: {run}", file=sys.stderr)
            mien.train(replace(change(base), seed=seed), arguments.data, run, resume=run.exists(), threads=arguments.threads)
            results.setdefault(variant, []).append(summarise(run))
    command = shlex.join(["python", "benchmarks/study.py", *sys.argv[1:]])
    text = table(results, f"Recipe `{name}`, {base.epochs} epochs, {arguments.seeds} seeds. `{command}`")
    if arguments.table:
        arguments.table.write_text(f"# {arguments.study.capitalize()}\n\n{text}", encoding="utf-8")
    else:
        print(text, end="")


def table(results: dict[str, list[RunSummary]], caption: str) -> str:
    """Write a row a variant: means over the seeds and their spread, and the rarest label's recall."""
    first = next(iter(results.values()))[0]
    rare = min(first.recall, key=lambda label: first.support[label])
    lines = [
        caption,
        "",
        f"n = {first.rows:,} {first.split} rows, {first.support[rare]} of {rare}. Means over seeds, +- one standard deviation.",
        f"The 95% interval of {rare}'s recall (Wilson) counts each row once, since all seeds are measured on the same rows.",
        "",
        f"| variant | accuracy | macro-F1 | recall of {rare} |",
        "| --- | --- | --- | --- |",
    ]
    for variant, runs in results.items():
        recall = proportion(round(np.mean([run.recall[rare] or 0 for run in runs]) * first.support[rare]), first.support[rare])
        accuracy, f1 = np.array([run.accuracy for run in runs]), np.array([run.macro_f1 for run in runs])
        lines.append(
            f"| {variant} | {accuracy.mean():.1%} +- {accuracy.std():.1%} | {f1.mean():.3f} +- {f1.std():.3f} "
            f"| {recall.value:.1%}, {recall.low:.1%} to {recall.high:.1%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
