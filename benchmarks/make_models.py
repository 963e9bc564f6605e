"""Make mien's own models: teachers, their ensemble, and the students that are shipped. Every step is skipped where it is done.

    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models            # on a GPU
    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models --reduced  # on 2 cores

Full: four large networks teach mien-l and mien-s-base live, each seeing what its student sees. Reduced: two of mien-s's size,
with squeeze-and-excitation and without, the first of which is the base. In both mien-s is the base, trained further on worse
photos by what its teachers say of the good ones, and mixed with what it was; and both train mien-s-plus, on FER+'s eight
labels. Every run is a `mien train` of a recipe written into runs/models/recipes; killed at any moment, the same command goes
on.

Selected on validation (PublicTest) alone. Writes the runs, ensemble.json, and results.md with a line for every run and head;
with --embed, mien-s becomes the embedded model.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import mien
from finished import is_finished
from mien.data.faceset import FaceSet
from mien.evaluation.metrics import measure
from mien.evaluation.statistics import proportion
from mien.files import write_whole
from mien.training.recipe import Recipe, Votes, describe_overrides

BASE_SHARE = 0.65
"""Share of the base in mien-s: of those tried, the one at which good faces lose least for what worse photos gain."""

MIEN = [sys.executable, "-m", "mien.cli"]


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        teachers: their recipes.
        students: the recipes of their students, by name; their teachers are filled in.
        base: the run that mien-s is made of.
        further: the recipe that makes it of that; where that lies and who teaches is filled in.
        plus: the recipe of mien-s-plus.
        at_once: how many runs share the machine: two runs of a thread each get more done than one of two, and steps as short
            as these leave a large GPU idle in between.
    """

    teachers: list[Recipe]
    students: dict[str, Recipe]
    base: str
    further: Recipe
    plus: Recipe
    at_once: int


def full() -> Plan:
    """Plan for one GPU, meant for 25 minutes on an H200; none was at hand yet to measure it."""
    large, small = two_headed("mien-l"), two_headed("mien-s")
    return Plan(
        teachers=[replace(large, epochs=60, seed=seed) for seed in range(4)],
        students={"mien-l": replace(large, epochs=80, seed=100), "mien-s-base": replace(small, epochs=120, seed=100)},
        base="mien-s-base",
        further=on_worse_photos(small, epochs=40),
        plus=replace(mien.load_recipe("mien-s"), epochs=100),
        at_once=4,
    )


def reduced() -> Plan:
    """Plan for two cores: two hours and a half beside other work, meant for two where nothing else runs."""
    small = two_headed("mien-s")
    return Plan(
        teachers=[small, replace(small, seed=1, network_options=None)],  # unlike each other, so that two know more than one
        students={},
        base="teacher-0",
        further=on_worse_photos(small, epochs=12),
        plus=replace(mien.load_recipe("mien-s"), epochs=24),
        at_once=2,
    )


def two_headed(name: str) -> Recipe:
    """Load a recipe, with a head for the crowd's votes."""
    return replace(mien.load_recipe(name), votes=Votes(head=0.5))


def on_worse_photos(recipe: Recipe, epochs: int) -> Recipe:
    """Give what a recipe's network is further trained by: more and worse changes, of which its teachers see but the places.

    The last epoch is kept: judged by good faces alone, the one that moved least from where it began would be.
    """
    light = {"brightness": 0.2, "contrast": 0.4}
    place = {"rotation": 15.0, "scale": 0.15}
    worse = {"degradation": 0.5, "blur": 0.2, "erasing": 0.3, **light, **place}
    return replace(
        recipe,
        epochs=epochs,
        optimizer=replace(recipe.optimizer, learning_rate=0.03),
        schedule=replace(recipe.schedule, warmup=0.1),
        augmentation=replace(recipe.augmentation, **worse),
        select_by="last",
        seed=1,
    )


def main() -> None:
    """Do what is not done yet, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True, help="FER+ votes, fer2013new.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reduced", action="store_true", help="what two cores can do in two hours")
    parser.add_argument("--epochs", type=int, help="of every run, to try the way")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--embed", action="store_true", help="make mien-s the embedded model")
    arguments = parser.parse_args()
    plan = reduced() if arguments.reduced else full()
    if arguments.epochs:
        plan = replace(
            plan,
            teachers=[replace(each, epochs=arguments.epochs) for each in plan.teachers],
            students={name: replace(each, epochs=arguments.epochs) for name, each in plan.students.items()},
            further=replace(plan.further, epochs=arguments.epochs),
            plus=replace(plan.plus, epochs=arguments.epochs),
        )
    command = shlex.join(["python", "benchmarks/make_models.py", *sys.argv[1:]])
    try:
        make(plan, arguments, command)
    except mien.MienError as mistake:
        sys.exit(f"make_models: {mistake}")


def make(plan: Plan, arguments: argparse.Namespace, command: str) -> None:
    """Train the teachers, then all that learns from them, and say what came of it."""
    out: Path = arguments.out
    labels_and_votes = [*data_flags(arguments), "--data.votes_as", "beside"]

    def commands_for(recipes: Mapping[Path, Recipe]) -> list[list[str]]:
        return [step for run, recipe in recipes.items() for step in training(recipe, run, labels_and_votes, arguments, plan)]

    teachers = {out / f"teacher-{number}": recipe for number, recipe in enumerate(plan.teachers)}
    run_all(commands_for(teachers), plan)
    ensemble = out / "ensemble.json"
    if not ensemble.is_file():
        faces = mien.read_faces(mien.DataSource(arguments.data, votes=arguments.votes, votes_as="beside"))
        text = json.dumps(together(list(teachers), faces.split("validation")), indent=2) + "\n"
        write_whole(ensemble, lambda part: part.write_text(text, encoding="utf-8"))
        print(text)
    students = {out / name: taught(recipe, teachers) for name, recipe in plan.students.items()}
    run_all(commands_for(students), plan)
    small, plus = out / "mien-s", out / "mien-s-plus"
    further = taught(replace(plan.further, weights=str(out / plan.base), weights_share=BASE_SHARE), teachers)
    run_all([*commands_for({small: further}), *training(plan.plus, plus, data_flags(arguments), arguments, plan)], plan)
    majority = plus / "report-majority"
    if not majority.is_dir():
        votes = [*data_flags(arguments), "--data.votes_as", "majority"]
        subprocess.run([*MIEN, "evaluate", str(plus), *votes, "--split", "validation", "--out", str(majority)], check=True)
    heads = [each for run in [*teachers, *students, small] for each in (run, run / "report-crowd")]
    table = mien.compare([*heads, majority], title="Mien's own models on PublicTest", command=command)
    write_whole(out / "results.md", lambda part: part.write_text(table, encoding="utf-8"))
    print(table)
    if arguments.embed:
        embed = [sys.executable, str(Path(__file__).with_name("embed.py")), str(out / "mien-s"), "mien-s", "--command", command]
        subprocess.run([*embed, "--data", arguments.data, "--votes", arguments.votes], check=True)


def taught(recipe: Recipe, teachers: Iterable[Path]) -> Recipe:
    """Give a recipe its teachers."""
    return replace(recipe, distillation=replace(recipe.distillation, teachers=[str(run) for run in teachers]))


def data_flags(arguments: argparse.Namespace) -> list[str]:
    """Name the data and the votes as `mien train` wants them."""
    return ["--data", arguments.data, "--data.votes", arguments.votes]


def training(recipe: Recipe, run: Path, data: list[str], arguments: argparse.Namespace, plan: Plan) -> Iterator[list[str]]:
    """Write a run's recipe and give the command that trains it, or goes on with it; nothing where it is done."""
    if is_finished(run, recipe) and (not recipe.votes.head or (run / "report-crowd" / "metrics.json").is_file()):
        return
    base = "mien-l" if recipe.network == mien.load_recipe("mien-l").network else "mien-s"
    recipe = describe_overrides(recipe, mien.load_recipe(base), base)
    file = run.parent / "recipes" / f"{run.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda part: part.write_text(recipe.to_yaml(), encoding="utf-8"))
    command = [*MIEN, "train", str(file), *data, "--out", str(run), "--device", arguments.device]
    yield [*command, "--threads", str(threads(plan)), *(["--resume", "true"] if run.exists() else [])]


def threads(plan: Plan) -> int:
    """Share the processor's cores out."""
    return max(1, (os.cpu_count() or 1) // plan.at_once)


def run_all(commands: list[list[str]], plan: Plan) -> None:
    """Run commands, so many at once as the plan says; what others have done stays where one fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads(plan))}

    def run(command: list[str]) -> int:
        print("==", shlex.join(["mien", *command[len(MIEN) :]]), file=sys.stderr)
        return subprocess.run(command, env=environment).returncode

    with ThreadPoolExecutor(plan.at_once) as workers:
        codes = list(workers.map(run, commands))
    if any(codes):
        raise mien.MienError("A step has failed, as it says above; repair that, then give the same command again.")


def together(teachers: list[Path], faces: FaceSet) -> dict:
    """Measure the mean of the teachers' probabilities, each head by what it was taught."""
    figures = {}
    for head, rows in (("label", faces), ("crowd", faces.judged_by_votes())):
        probabilities = np.mean([mien.Classifier(run, head=head).predict_proba(rows.images) for run in teachers], axis=0)
        right = int((probabilities.argmax(1) == rows.classes).sum())
        metrics = measure(probabilities, rows.targets, rows.labels)
        figures[head] = asdict(proportion(right, len(rows))) | {
            "macro_f1": metrics.macro_f1,
            "log_loss": metrics.log_loss,
            "cross_entropy_with_votes": metrics.cross_entropy,
        }
    return figures


if __name__ == "__main__":
    main()
