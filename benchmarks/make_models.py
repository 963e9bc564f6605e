"""Make mien's own models: teachers, and the students that are shipped. Every finished step is skipped.

    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models --minutes 9     # on a GPU
    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models --reduced  # on 2 cores

Full: four networks that keep all 48 pixels at first teach two of mien-s's kind. Reduced: two of mien-s's kind, the first of
which is the base. mien-s is a base trained further on degraded photos, by what its teachers say of the unchanged ones, and
averaged with the base; mien-s-plus learns FER+'s eight labels. Every run is a `mien train` of a recipe in OUT/recipes.
--minutes ends the command in time, for which it shortens all runs by the same share, or by --share; it keeps what was trained,
and the same command continues. --epochs sets those of every run, for a trial. When all is finished, results.md lists every run
and head, and --embed embeds mien-s.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mien
from mien.data.source import VotesAs
from mien.errors import load_table
from mien.files import write_whole
from mien.training.loop import choose_device
from mien.training.recipe import Recipe, Votes, describe_overrides, recipe_from_dict
from shared import CLOSE, STARTED, Step, Training, data_words, epoch_faces, parse, plan, step_of, train_all, unpack_faces

VOTES_AS: tuple[VotesAs, ...] = ("distribution", "beside", "majority")
SMALL = replace(mien.load_recipe("mien-s"), votes=Votes(head=0.5))
TABLE = load_table(__file__)


def changed(**changes: Any) -> Recipe:
    """Change the recipe mien-s with a second head; settings that are nested in it are changed one by one."""
    content = asdict(SMALL)
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(content[key], dict) and isinstance(value, dict) else value
    return recipe_from_dict(content)


def training(folder: Path, recipe: Recipe, data: mien.DataSource, faces: mien.FaceSet, after: Iterable[str] = ()) -> Training:
    """Write the recipe of a run beside it, and describe the run."""
    text = describe_overrides(recipe, mien.load_recipe("mien-s"), "mien-s").to_yaml()
    file = folder.parent / "recipes" / f"{folder.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))
    command = shlex.join(["mien", "train", str(file), *data_words(data), "--out", str(folder)])
    count, _ = epoch_faces(recipe, faces)
    return Training(folder, mien.load_recipe(file), data, count, command, tuple(after))


def fitting_share(steps: list[Step], at_once: int, seconds: float) -> float:
    """Find the largest share of all epochs, in hundredths, with which a plan ends in time."""
    for percent in range(100, 1, -1):
        planned = plan([each._replace(epochs=-(-percent * each.epochs // 100)) for each in steps], (), at_once, seconds)
        if len(planned) == len(steps) and all(each.end <= seconds for each in planned.values()):
            return percent / 100
    return 0.01


if __name__ == "__main__":
    options = {"minutes": 0.0, "share": 0.0, "jobs": 0, "threads": 0, "epochs": 0, "device": "auto"}
    arguments = parse(__doc__, data=Path, votes=Path, out=Path, **options, reduced=False, embed=False)
    making, out = TABLE["reduced" if arguments.reduced else "full"], arguments.out
    at_once, path = arguments.jobs or making["at_once"], unpack_faces(arguments.data, out)
    plain, beside, majority = (mien.DataSource(path, votes=arguments.votes, votes_as=how) for how in VOTES_AS)
    faces, both = mien.read_faces(plain), mien.read_faces(beside)
    recipes = {f"teacher-{number}": changed(**changes) for number, changes in enumerate(making["teachers"])}
    teachers, after = list(recipes), dict[str, list[str]]()
    recipes["mien-s-plus"] = replace(mien.load_recipe("mien-s"), epochs=making["plus_epochs"])
    bases = making["further"]
    further = {
        name: TABLE["on_degraded_photos"] | {"weights": str(out / base), "epochs": making["further_epochs"]}
        for name, base in bases.items()
    }
    for name, changes in (making["students"] | further).items():
        distillation = changes.get("distillation", {}) | {"teachers": [str(out / each) for each in teachers]}
        recipes[name] = changed(**changes | {"distillation": distillation})
        after[name] = [*teachers, bases[name]] if name in bases else teachers

    def trainings(share: float) -> list[Training]:
        """Describe the runs with a share of their epochs, or with those they were begun with, and write their recipes."""
        runs = []
        for name, recipe in recipes.items():
            begun = out / "recipes" / f"{name}.yaml"
            known = mien.load_recipe(begun).epochs if is_begun else max(1, round(share * recipe.epochs))
            epochs = arguments.epochs or known
            source, rows = (plain, faces) if name == "mien-s-plus" else (beside, both)
            run = training(out / name, replace(recipe, epochs=epochs), source, rows, after.get(name, ()))
            runs.append(replace(run, reports={"report-majority": (majority, "validation")}) if rows is faces else run)
        return runs

    is_begun = (out / "recipes").is_dir() and not arguments.share
    runs = trainings(arguments.share or 1.0)
    if arguments.minutes and not (is_begun or arguments.share or arguments.epochs):
        kind, threads = choose_device(arguments.device).type, arguments.threads or max(1, (os.cpu_count() or 1) // at_once)
        left = STARTED + 60 * arguments.minutes - CLOSE - time.monotonic()
        share = fitting_share([step_of(each, runs, kind, threads) for each in runs], at_once, left)
        print(f"{share:.0%} of the epochs of each run")
        runs = trainings(share)
    if not train_all(runs, at_once, arguments.device, arguments.minutes, arguments.threads):
        sys.exit(1)
    command = shlex.join(["python", "benchmarks/make_models.py", *sys.argv[1:]])
    heads = [each for run in runs if not run.reports for each in (run.folder, run.folder / "report-crowd")]
    table = mien.compare(
        [*heads, out / "mien-s-plus" / "report-majority"], title="Mien's own models on PublicTest", command=command
    )
    write_whole(out / "results.md", lambda part: part.write_text(table, encoding="utf-8"))
    print(table)
    if arguments.embed:
        embed = [sys.executable, str(Path(__file__).with_name("embed.py")), str(out / "mien-s"), "mien-s", "--command", command]
        subprocess.run([*embed, "--data", path, "--votes", arguments.votes], check=True)
