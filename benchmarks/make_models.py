"""Make mien's own models: teachers, their ensemble, and the students that are shipped. Every step is skipped where it is done.

    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models            # on a GPU
    python benchmarks/make_models.py --data fer2013.csv --votes fer2013new.csv --out runs/models --reduced  # on 2 cores

Full: four large networks teach mien-l and mien-s live, each seeing what its student sees. Reduced: two compact networks teach
mien-s alone, by answers to changed views that are computed once. Killed at any moment, the same command goes on.

Selected on validation (PublicTest) alone. Writes runs/models/teacher-N, mien-l, mien-s, ensemble.json and results.md; with
--embed, mien-s becomes the embedded model.
"""

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import mien
from mien.evaluation.metrics import measure
from mien.evaluation.proportion import proportion
from mien.files import write_whole
from mien.training.recipe import Distillation, Recipe, Votes


@dataclass(frozen=True)
class Plan:
    """How much is trained.

    Attributes:
        teacher: their recipe.
        teachers: how many, each with a seed of its own.
        teacher_epochs: of each.
        views: that they answer once for the students; 0 for live answers.
        students: recipe and epochs of each student, by its name.
    """

    teacher: str
    teachers: int
    teacher_epochs: int
    views: int
    students: dict[str, tuple[str, int]]


FULL = Plan("mien-l", 4, 60, 0, {"mien-l": ("mien-l", 80), "mien-s": ("mien-s", 200)})
REDUCED = Plan("mien-s", 2, 24, 8, {"mien-s": ("mien-s", 40)})


def main() -> None:
    """Do what is not done yet, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True, help="FER+ votes, fer2013new.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reduced", action="store_true", help="what two cores can do in two hours")
    parser.add_argument("--epochs", type=int, help="of every run, to try the way")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--embed", action="store_true", help="make mien-s the embedded model")
    arguments = parser.parse_args()
    plan = REDUCED if arguments.reduced else FULL
    if arguments.epochs:
        students = {name: (recipe, arguments.epochs) for name, (recipe, _) in plan.students.items()}
        plan = replace(plan, teacher_epochs=arguments.epochs, students=students)
    command = shlex.join(["python", "benchmarks/make_models.py", *sys.argv[1:]])
    try:
        make(plan, arguments, command)
    except mien.MienError as mistake:
        sys.exit(f"make_models: {mistake}")


def make(plan: Plan, arguments: argparse.Namespace, command: str) -> None:
    """Train teachers and students, in this order, and say what came of them."""
    data = mien.read_faces(mien.DataSource(arguments.data, votes=arguments.votes, votes_as="beside"))
    out: Path = arguments.out
    teachers = [out / f"teacher-{seed}" for seed in range(plan.teachers)]
    for seed, run in enumerate(teachers):
        train(replace(two_headed(plan.teacher), epochs=plan.teacher_epochs, seed=seed), data, run, arguments, command)
    ensemble = out / "ensemble.json"
    if not ensemble.is_file():
        text = json.dumps(together(teachers, data.split("validation")), indent=2) + "\n"
        write_whole(ensemble, lambda part: part.write_text(text, encoding="utf-8"))
    print(ensemble.read_text(encoding="utf-8"))
    teaching = Distillation([str(run) for run in teachers], views=plan.views)
    for name, (recipe, epochs) in plan.students.items():
        student = replace(two_headed(recipe), epochs=epochs, seed=100, distillation=teaching)
        train(student, data, out / name, arguments, command)
    runs = [*teachers, *(out / name for name in plan.students)]
    table = mien.compare([each for run in runs for each in (run, run / "report-crowd")])
    write_whole(out / "results.md", lambda part: part.write_text(f"{table}\nWritten by: `{command}`\n", encoding="utf-8"))
    print(table)
    if arguments.embed:
        subprocess.run([sys.executable, Path(__file__).with_name("embed.py"), out / "mien-s", "mien-s"], check=True)


def two_headed(name: str) -> Recipe:
    """Load a recipe, with a head for the crowd's votes."""
    recipe = mien.load_recipe(name)
    return recipe if recipe.votes.head else replace(recipe, votes=Votes(head=0.5))


def train(recipe: Recipe, data: mien.FaceSet, run: Path, arguments: argparse.Namespace, command: str) -> None:
    """Train a run, or go on with it."""
    print(f"== {run}", file=sys.stderr)
    if not (run / "report-crowd" / "metrics.json").is_file():
        mien.train(recipe, data, run, run.exists(), arguments.device, arguments.threads, command=command)


def together(teachers: list[Path], faces: mien.FaceSet) -> dict:
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
