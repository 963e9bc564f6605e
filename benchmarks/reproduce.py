"""Train every system that mien reproduces at its full length, with three seeds, and write what they reach.

    python benchmarks/reproduce.py --data fer2013.csv --out runs/reproduce --minutes 8 --jobs 4 --device cuda
    python benchmarks/reproduce.py --data fer2013.csv --out runs/reproduce --only six-conv three-emotions     # on a CPU

Prints its plan first. --minutes ends the command in time; it keeps what was trained, the same command continues, and the exit
status is 1. Of a seed, the longest runs come first on a GPU, and on a CPU those nearest to their end. --weights is the file of
an ImageNet MobileNetV2, for mobilenetv2-transfer; resnet50-transfer needs the hub. --report trains nothing; it exports and
measures unfinished runs as they stand. Runs that benchmarks/results.json has at full length, on the same faces, are skipped.
OUT/results.json and OUT/results.md list all runs; --publish writes benchmarks/results.json and docs/results.md instead.
--pack FOLDER writes the faces into a small folder, to be given as --data on another machine.
"""

import json
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import mien
from mien.errors import MienError, suggestion
from mien.evaluation.comparison import RunSummary, as_json, read_summaries, summarise
from mien.evaluation.plots import markdown_table
from mien.files import missing_path, write_whole
from mien.training.recipe import TIMM, Recipe, describe_overrides
from shared import Training, data_words, epoch_faces, pack_faces, parse, step_of, train_all, unpack_faces

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"


class System(NamedTuple):
    """A system: its recipe, what is changed of it, and the accuracy that its source gives."""

    recipe: str
    changes: dict[str, Any]
    source: float | None = None
    split: str = ""  # of the source's accuracy
    below: str = "trained in full; the difference is not explained"  # why a finished run is below its source


OF_MOBILENET = {"network": f"{TIMM}mobilenetv2_100", "network_options": {"pad_type": "same"}, "mean": 0.5, "std": 0.5}
SYSTEMS = {
    "wide-cnn": System("wide-cnn", {}, 0.6834, "validation"),
    "mish-cnn": System("mish-cnn", {}),
    "mish-cnn-swish": System("mish-cnn", {"activation": "swish"}),
    "mish-cnn-relu": System("mish-cnn", {"activation": "relu"}),
    "mish-cnn-leaky_relu": System("mish-cnn", {"activation": "leaky_relu"}),
    "six-conv": System("six-conv", {}, 0.52, "validation"),
    "three-emotions": System("three-emotions", {}),
    "deepface-6": System("deepface-6", {}),
    "mobilenetv2-transfer": System(
        "resnet50-transfer", OF_MOBILENET | {"enlarge_to": 64}, 0.655, "test", "a network of a tenth of ResNet-50's size"
    ),
    "resnet50-transfer": System("resnet50-transfer", {}, 0.655, "test"),
}


def base_recipe(name: str) -> Recipe:
    """Load the recipe of a system, before its changes."""
    return mien.load_recipe(SYSTEMS[name].recipe)


def is_complete(run: RunSummary, recipe: Recipe) -> bool:
    """Check whether a run has the length of its recipe, or stopped early by it."""
    epochs, best, patience = run.epochs or 0, run.best_epoch or 0, recipe.early_stopping
    return epochs >= recipe.epochs or (patience is not None and epochs - best >= patience)


def check_available(name: str, weights: str | None) -> None:
    """Raise MienError where the pretrained weights of a system are not here."""
    if name == "mobilenetv2-transfer" and weights is None:
        raise MienError("Give --weights, an ImageNet MobileNetV2 under timm's names (.safetensors).")
    if name == "resnet50-transfer":
        from mien.training.networks import fetch_from_hub

        fetch_from_hub(base_recipe(name).network.removeprefix(TIMM))


def training(name: str, seed: int, data: mien.DataSource, count: int, out: Path, epochs: int, weights: str | None) -> Training:
    """Describe the run of a system and a seed, with the faces of its epochs, fewer epochs than its recipe's, and weights."""
    system, base = SYSTEMS[name], base_recipe(name)
    changes = system.changes | ({"seed": seed} if seed else {}) | ({"weights": weights} if "network" in system.changes else {})
    if epochs:
        changes |= {"epochs": epochs, **({"head_epochs": min(epochs, base.head_epochs)} if base.head_epochs else {})}
    recipe, folder = describe_overrides(replace(base, **changes), base, system.recipe), out / f"{name}-{seed}"
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    flags = [word for key, text in texts.items() for word in (f"--recipe.{key}", text)]
    command = shlex.join(["mien", "train", system.recipe, *flags, *data_words(data), "--out", str(folder)])
    reports = {} if recipe.own_validation else {"report-test": (data, "test")}
    return Training(folder, recipe, data, count, command, reports=reports)


def as_it_stands(run: Training) -> Training | None:
    """Copy an unfinished run as one of the epochs it has, which is then exported and measured; None if it has none."""
    target = run.folder.parent / "as-they-stand" / run.name
    if not (epochs := len(run.read_log()["images_per_second"])) or run.is_finished():
        return None
    recipe = replace(run.recipe, epochs=epochs, head_epochs=min(epochs, run.recipe.head_epochs))
    copy = replace(run, folder=target, recipe=recipe)
    if len(copy.read_log()["images_per_second"]) != epochs:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(run.folder, target, ignore=shutil.ignore_patterns("*.part", "report*", "tensorboard", "model.onnx"))
        first = (run.folder / "recipe.yaml").read_text(encoding="utf-8").partition("\n")[0]
        (target / "recipe.yaml").write_text(f"{first}\n{recipe.to_yaml()}", encoding="utf-8")
    return copy


def collect(runs: list[Training], rows: dict[str, RunSummary]) -> list[RunSummary]:
    """Add to known rows those of finished runs and of copies of unfinished ones, unless they have fewer epochs."""
    for run in runs:
        for folder in (run.folder.parent / "as-they-stand" / run.name, run.folder):
            report = folder / next(iter(run.reports), "report")
            if not (report / "metrics.json").is_file():
                continue
            row = summarise(folder if report.name == "report" else report)
            if row.name not in rows or (row.epochs or 0) >= (rows[row.name].epochs or 0):
                rows[row.name] = row
    return sorted(rows.values(), key=lambda row: row.name)


def write_up(rows: list[RunSummary], file: Path, command: str) -> str:
    """Write the table of sources and runs, and below it what `mien compare` writes."""
    table = [["run", "source", "accuracy, 95% interval", "faces", "epochs", "hardware", "below its source because"]]
    for name, system in SYSTEMS.items():
        base = base_recipe(name)
        of_system = [row for row in rows if row.name.partition("/")[0].rpartition("-")[0] == name]
        source = f"{system.source:.1%}, {system.split}" if system.source else "no figure"
        if not of_system:
            table.append([name, source, "not trained yet", "", f"0 of {base.epochs}", "", ""])
        for row in of_system:
            finished, why = is_complete(row, base), ""
            if system.source and row.accuracy < system.source:
                why = f"only {row.epochs} of {base.epochs} epochs" if not finished else system.below
                why = "its interval includes the source's figure" if finished and row.high >= system.source else why
            epochs = f"{row.epochs}{'' if finished else f' of {base.epochs}'} (best {row.best_epoch})"
            accuracy = f"{row.accuracy:.1%}, {row.low:.1%} to {row.high:.1%}"
            table.append([row.name, source, accuracy, f"{row.rows:,} {row.split}", epochs, row.hardware or "", why])
    return (
        "# What the recipes reach on FER-2013\n\n"
        "Each system, the accuracy that its source gives, and what its recipe reaches here, with a 95% interval (Wilson); the "
        "number after a name is the seed. Epochs are those of the recipe, or fewer where it stops early; a run with fewer says "
        "of how many. The best epoch was chosen on the run's own validation rows, so figures on the validation split are "
        f"slightly optimistic. Written by: `{command}`\n\n{markdown_table(table)}\n\n## All figures\n\n{mien.compare([file])}"
    )


def main() -> int:
    """Pack the faces, or train, measure and write down what there is time for; return 1 if something is left to do."""
    options: dict[str, Any] = {"weights": None, "seeds": 3, "minutes": 0.0, "jobs": 0, "threads": 0, "epochs": 0}
    options |= {"device": "auto", "only": list(SYSTEMS), "report": False, "publish": False, "pack": None}
    arguments = parse(__doc__, data=Path, out=Path("runs/reproduce"), **options)
    if arguments.pack:
        pack_faces(arguments.data, Path(arguments.pack))
        return 0
    if unknown := [name for name in arguments.only if name not in SYSTEMS]:
        hint = suggestion(unknown[0], SYSTEMS, f"choose of {', '.join(SYSTEMS)}.")
        raise MienError(f"There is no system {unknown[0]!r}; {hint}")
    if arguments.seeds < 1 or arguments.epochs < 0:
        raise MienError("Give --seeds of 1 or more, and --epochs of 0 (those of the recipes) or more.")
    if arguments.weights and not Path(arguments.weights).is_file():
        raise MienError(f"--weights: {missing_path(Path(arguments.weights))}")

    from mien.training.loop import choose_device

    kind, out = choose_device(arguments.device).type, arguments.out
    data = mien.DataSource(unpack_faces(arguments.data, out))
    faces = mien.read_faces(data)
    counts, measured = dict[str, int](), set[str]()
    for name in arguments.only:
        try:
            counts[name], rows_of_name = epoch_faces(base_recipe(name), faces)
            measured.add(rows_of_name.fingerprint())
            check_available(name, arguments.weights)
        except MienError as reason:
            print(f"{name} is left out: {reason}")
            counts.pop(name, None)
    known = {row.name: row for row in read_summaries(RESULTS)}
    if arguments.publish and measured.isdisjoint(row.data for row in known.values()):
        raise MienError(f"--publish adds to {RESULTS}, which was measured on other faces; leave it out.")
    rows = {name: row for name, row in known.items() if arguments.publish or row.data in measured}
    runs = [
        training(name, seed, data, counts[name], out, arguments.epochs, arguments.weights)
        for seed in range(arguments.seeds)
        for name in counts
    ]
    direction, jobs = (1, arguments.jobs or 1) if kind == "cpu" else (-1, arguments.jobs or 4)
    plan = [
        run for run in runs if not (row := rows.get("/".join([run.name, *run.reports]))) or not is_complete(row, run.recipe)
    ]
    steps = {run.name: step_of(run, runs, kind, 1) for run in plan}
    plan.sort(key=lambda run: (run.recipe.seed, direction * steps[run.name].epochs * steps[run.name].seconds))
    if arguments.report:
        plan = [copy for run in plan if (copy := as_it_stands(run))]
    done = not plan or train_all(plan, jobs, arguments.device, arguments.minutes, arguments.threads)
    if found := collect(runs, rows):
        folder, docs = (RESULTS.parent, ROOT / "docs") if arguments.publish else (out, out)
        results, table = folder / "results.json", docs / "results.md"
        write_whole(results, lambda part: part.write_text(as_json(found), encoding="utf-8"))
        text = write_up(found, results, shlex.join(["python", "benchmarks/reproduce.py", *sys.argv[1:]]))
        write_whole(table, lambda part: part.write_text(text, encoding="utf-8"))
        print(f"{results}\n{table}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
