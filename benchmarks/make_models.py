"""Make mien's own models: teachers, and the students that are shipped. Every finished step is skipped.

    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models            # on a GPU
    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models --reduced  # on 2 cores

Full: four large networks teach mien-l and mien-s-base. Reduced: two of mien-s's size, the first of which is the base. mien-s is
the base trained further on degraded photos, by what its teachers say of the unchanged ones, and averaged with the base;
mien-s-plus learns FER+'s eight labels. Every run is a `mien train` of a recipe in OUT/recipes. --minutes ends the command in
time; it keeps what was trained, and the same command continues. --epochs shortens every run, for a trial. When all is finished,
results.md lists every run and head, and --embed embeds mien-s.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mien
from mien.data.source import VotesAs
from mien.files import write_whole
from mien.training.recipe import Distillation, Recipe, Votes, describe_overrides
from shared import Training, data_words, epoch_faces, parse, train_all, unpack_faces

BASE_SHARE = 0.65  # of the base in mien-s: unchanged faces lose least there for what degraded photos gain


class Making(NamedTuple):
    """The recipes of the teachers and of their students, to be taught; and how long mien-s and mien-s-plus are trained."""

    teachers: list[Recipe]
    students: dict[str, Recipe]
    base: str  # the run that mien-s starts from
    further_epochs: int  # that train it into mien-s
    plus_epochs: int
    at_once: int  # two runs of a thread get more done than one of two, and short steps leave a large GPU idle in between


VOTES_AS: tuple[VotesAs, ...] = ("distribution", "beside", "majority")
LARGE, SMALL = (replace(mien.load_recipe(name), votes=Votes(head=0.5)) for name in ("mien-l", "mien-s"))
FULL = Making(  # for one GPU, estimated at 25 minutes on an H200; not yet measured
    teachers=[replace(LARGE, epochs=60, seed=seed) for seed in range(4)],
    students={"mien-l": replace(LARGE, epochs=80, seed=100), "mien-s-base": replace(SMALL, epochs=120, seed=100)},
    base="mien-s-base",
    further_epochs=40,
    plus_epochs=100,
    at_once=4,
)
REDUCED = Making(  # for two cores: two hours and a half beside other work
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


def training(folder: Path, recipe: Recipe, data: mien.DataSource, faces: mien.FaceSet, after: Iterable[Path] = ()) -> Training:
    """Write the recipe of a run beside it, and describe the run."""
    base = "mien-l" if recipe.network == LARGE.network else "mien-s"
    text = describe_overrides(recipe, mien.load_recipe(base), base).to_yaml()
    file = folder.parent / "recipes" / f"{folder.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))
    command = shlex.join(["mien", "train", str(file), *data_words(data), "--out", str(folder)])
    count, _ = epoch_faces(recipe, faces)
    return Training(folder, mien.load_recipe(file), data, count, command, tuple(each.name for each in after))


if __name__ == "__main__":
    options = {"minutes": 0.0, "jobs": 0, "threads": 0, "epochs": 0, "device": "auto", "reduced": False, "embed": False}
    arguments = parse(__doc__, data=Path, votes=Path, out=Path, **options)
    making, out = REDUCED if arguments.reduced else FULL, arguments.out
    path = unpack_faces(arguments.data, out)
    plain, beside, majority = (mien.DataSource(path, votes=arguments.votes, votes_as=how) for how in VOTES_AS)
    faces, both = mien.read_faces(plain), mien.read_faces(beside)
    teachers = [out / f"teacher-{number}" for number in range(len(making.teachers))]
    taught = Distillation(teachers=[str(folder) for folder in teachers])
    runs = {folder: (recipe, ()) for folder, recipe in zip(teachers, making.teachers, strict=True)}
    runs |= {out / name: (replace(recipe, distillation=taught), teachers) for name, recipe in making.students.items()}
    further = replace(on_degraded_photos(making.further_epochs, out / making.base), distillation=taught)
    runs[out / "mien-s"] = (further, [*teachers, out / making.base])
    trainings = [
        training(folder, replace(recipe, epochs=arguments.epochs or recipe.epochs), beside, both, after)
        for folder, (recipe, after) in runs.items()
    ]
    plus = replace(mien.load_recipe("mien-s"), epochs=arguments.epochs or making.plus_epochs)
    plus_run = training(out / "mien-s-plus", plus, plain, faces)
    trainings.append(replace(plus_run, reports={"report-majority": (majority, "validation")}))
    if not train_all(trainings, arguments.jobs or making.at_once, arguments.device, arguments.minutes, arguments.threads):
        sys.exit(1)
    command = shlex.join(["python", "benchmarks/make_models.py", *sys.argv[1:]])
    heads = [each for run in runs for each in (run, run / "report-crowd")]
    table = mien.compare(
        [*heads, out / "mien-s-plus" / "report-majority"], title="Mien's own models on PublicTest", command=command
    )
    write_whole(out / "results.md", lambda part: part.write_text(table, encoding="utf-8"))
    print(table)
    if arguments.embed:
        embed = [sys.executable, str(Path(__file__).with_name("embed.py")), str(out / "mien-s"), "mien-s", "--command", command]
        subprocess.run([*embed, "--data", path, "--votes", arguments.votes], check=True)
