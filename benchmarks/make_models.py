"""Make mien's own models: teachers, and the students that are shipped. Every finished step is skipped.

    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models            # on a GPU
    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models --reduced  # on 2 cores

Full: four large networks teach mien-l and mien-s-base. Reduced: two of mien-s's size, the first of which is the base. mien-s is
the base trained further on degraded photos, by what its teachers say of the unchanged ones, and averaged with the base;
mien-s-plus learns FER+'s eight labels. Every run is a `mien train` of a recipe in OUT/recipes; interrupted, the same command
continues. --epochs shortens every run, for a trial. results.md lists every run and head; --embed embeds mien-s.
"""

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mien
from mien.files import write_whole
from mien.training.recipe import Distillation, Recipe, Votes, describe_overrides
from shared import is_finished, parse

BASE_SHARE = 0.65  # of the base in mien-s: unchanged faces lose least there for what degraded photos gain
MIEN = [sys.executable, "-m", "mien.cli"]


class Plan(NamedTuple):
    """The recipes of the teachers and of their students, to be taught; and how long mien-s and mien-s-plus are trained."""

    teachers: list[Recipe]
    students: dict[str, Recipe]
    base: str  # the run that mien-s starts from
    further_epochs: int  # that train it into mien-s
    plus_epochs: int
    at_once: int  # two runs of a thread get more done than one of two, and short steps leave a large GPU idle in between


LARGE, SMALL = (replace(mien.load_recipe(name), votes=Votes(head=0.5)) for name in ("mien-l", "mien-s"))
FULL = Plan(  # for one GPU, estimated at 25 minutes on an H200; not yet measured
    teachers=[replace(LARGE, epochs=60, seed=seed) for seed in range(4)],
    students={"mien-l": replace(LARGE, epochs=80, seed=100), "mien-s-base": replace(SMALL, epochs=120, seed=100)},
    base="mien-s-base",
    further_epochs=40,
    plus_epochs=100,
    at_once=4,
)
REDUCED = Plan(  # for two cores: two hours and a half beside other work
    teachers=[SMALL, replace(SMALL, seed=1, network_options=None)],  # different, so that two know more than one
    students={},
    base="teacher-0",
    further_epochs=12,
    plus_epochs=24,
    at_once=2,
)


def on_degraded_photos(epochs: int, base: Path) -> Recipe:
    """Train the base further, with more and worse augmentation; teachers see only the changes of place.

    The last epoch is kept: judged by unchanged faces alone, the one that moved least from the start would be.
    """
    light = {"brightness": 0.2, "contrast": 0.4, "degradation": 0.5, "blur": 0.2, "erasing": 0.3}
    return replace(
        SMALL,
        epochs=epochs,
        optimizer=replace(SMALL.optimizer, learning_rate=0.03),
        schedule=replace(SMALL.schedule, warmup=0.1),
        augmentation=replace(SMALL.augmentation, **light, rotation=15.0, scale=0.15),
        select_by="last",
        seed=1,
        weights=str(base),
        weights_share=BASE_SHARE,
    )


def train_all(runs: dict[Path, Recipe], data: list[str], device: str, epochs: int, at_once: int) -> None:
    """Train what is not finished, several runs at once; the others are kept where one fails."""
    threads = str(max(1, (os.cpu_count() or 1) // at_once))

    def train(folder: Path, recipe: Recipe) -> int:
        recipe = replace(recipe, epochs=epochs or recipe.epochs)
        if is_finished(folder, recipe) and (not recipe.votes.head or (folder / "report-crowd" / "metrics.json").is_file()):
            return 0
        base = "mien-l" if recipe.network == mien.load_recipe("mien-l").network else "mien-s"
        text = describe_overrides(recipe, mien.load_recipe(base), base).to_yaml()
        file = folder.parent / "recipes" / f"{folder.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))
        words = ["train", str(file), *data, *(["--data.votes_as", "beside"] if recipe.votes.head else [])]
        words += ["--out", str(folder), "--device", device, "--threads", threads]
        words += ["--resume"] if folder.exists() else []
        print("==", shlex.join(["mien", *words]), file=sys.stderr)
        return subprocess.run([*MIEN, *words], env=os.environ | {"OMP_NUM_THREADS": threads}).returncode

    with ThreadPoolExecutor(at_once) as workers:
        if any(list(workers.map(train, runs, runs.values()))):
            raise mien.MienError("A step has failed, see above; repair that, then give the same command again.")


if __name__ == "__main__":
    arguments = parse(__doc__, data=str, votes=str, out=Path, reduced=False, epochs=0, device="auto", embed=False)
    plan, out = REDUCED if arguments.reduced else FULL, arguments.out
    data = ["--data", arguments.data, "--data.votes", arguments.votes]
    how = (data, arguments.device, arguments.epochs, plan.at_once)
    command = shlex.join(["python", "benchmarks/make_models.py", *sys.argv[1:]])
    teachers = {out / f"teacher-{number}": recipe for number, recipe in enumerate(plan.teachers)}
    train_all(teachers, *how)
    taught = Distillation(teachers=[str(folder) for folder in teachers])
    students = {out / name: replace(recipe, distillation=taught) for name, recipe in plan.students.items()}
    train_all(students, *how)
    small, plus = out / "mien-s", out / "mien-s-plus"
    further = replace(on_degraded_photos(plan.further_epochs, out / plan.base), distillation=taught)
    train_all({small: further, plus: replace(mien.load_recipe("mien-s"), epochs=plan.plus_epochs)}, *how)
    majority = plus / "report-majority"
    if not majority.is_dir():
        votes = [*data, "--data.votes_as", "majority"]
        subprocess.run([*MIEN, "evaluate", str(plus), *votes, "--split", "validation", "--out", str(majority)], check=True)
    heads = [each for run in [*teachers, *students, small] for each in (run, run / "report-crowd")]
    table = mien.compare([*heads, majority], title="Mien's own models on PublicTest", command=command)
    write_whole(out / "results.md", lambda part: part.write_text(table, encoding="utf-8"))
    print(table)
    if arguments.embed:
        embed = [sys.executable, str(Path(__file__).with_name("embed.py")), str(small), "mien-s", "--command", command]
        subprocess.run([*embed, "--data", arguments.data, "--votes", arguments.votes], check=True)
