"""What several benchmarks share: the command line, fresh processes, judged faces, packed data, and plans of trainings."""

import argparse
import fcntl
import heapq
import os
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, field
from math import inf
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import mien
from mien.data.faceset import SPLITS
from mien.files import write_whole
from mien.training.recipe import Recipe, flat

STARTED = time.monotonic() - time.process_time()  # before the imports
START, FINISH, CLOSE = 25.0, 45.0, 25.0  # estimated seconds before the first epoch and after the last, and to end a plan
VALIDATION = 1.06  # estimated time of an epoch with validation, relative to training alone
SPEEDS = {  # faces a second: on one CPU thread (docs/results.md, docs/making.md), on an H100; * is estimated
    "wide_cnn": (51, 9195),
    "mish_cnn": (134, 9000),  # *
    "six_conv": (146, 9000),  # *
    "deepface_cnn": (268, 9000),  # *
    "compact_resnet": (345, 8298),
    "se_resnet": (20, 6383),  # * on the CPU
    "timm:mobilenetv2_100": (159, 3000),  # *
    "timm:resnet50.tv_in1k": (5, 1500),  # * both
}
GRID = 100  # faces in a row of packed data
USAGES = {"train": "Training", "validation": "PublicTest"}  # of packed data, which never hold test faces


def end_in_a_sentence(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Report a user's mistake or a full disk without a traceback, as `mien` does, with exit status 2."""
    if not isinstance(error, mien.MienError | OSError):
        sys.__excepthook__(kind, error, trace)
        return
    print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
    sys.stdout.flush()
    os._exit(2)


def parse(doc: str | None, *positional: str, **options: Any) -> argparse.Namespace:
    """Parse a command line of names with their `nargs` ("runs +"), and options by default, or by type where required."""
    sys.excepthook = end_in_a_sentence
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, *nargs in map(str.split, positional):
        parser.add_argument(name, nargs=nargs[0] if nargs else None)
    for name, value in options.items():
        flag, shown = "--" + name.replace("_", "-"), "default %(default)s"
        if value is False:
            parser.add_argument(flag, action="store_true")
        elif isinstance(value, type):
            parser.add_argument(flag, type=value, required=True)
        elif isinstance(value, list):
            parser.add_argument(flag, nargs="+", default=value, help=shown)
        else:
            parser.add_argument(flag, type=str if value is None else type(value), default=value, help=shown)
    return parser.parse_args()


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """Call a function in a Python process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_megabytes() -> float:
    """Measure this process's peak of memory; on Linux getrusage would count the parent's too."""
    if (status := Path("/proc/self/status")).exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1024)


def read_judged(data: str, votes: str | None, split: str, size: int = 48, channels: int = 1) -> mien.FaceSet:
    """Read a split; with votes only the rows that have them, with the votes as targets."""
    source = mien.DataSource(data, votes=votes, votes_as="beside" if votes else "distribution")
    faces = mien.read_faces(source, size, channels).split(split)
    return faces.judged_by_votes() if votes else faces


@dataclass(frozen=True, eq=False)
class Training:
    """A run of a plan: arguments of `mien.train`, runs that must be finished before it, and further reports."""

    folder: Path
    recipe: Recipe
    data: mien.DataSource | mien.FaceSet
    faces: int  # of an epoch
    command: str = ""
    after: tuple[str, ...] = ()
    reports: Mapping[str, tuple[mien.DataSource, str]] = field(default_factory=dict)  # by name, of which data and split

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.folder.name

    def read_log(self) -> dict[str, np.ndarray]:
        """Read the epochs trained so far; none if the run is new."""
        from mien.evaluation.record import read_log  # loads scipy

        columns, path = ("images_per_second", "validation_accuracy"), self.folder / "log.csv"
        return read_log(path, columns) if path.is_file() else {name: np.empty(0) for name in columns}

    @property
    def progress(self) -> str:
        """The epochs trained so far, with speed and accuracy of the last one, in words."""
        rates, accuracies = self.read_log().values()
        last = f", {rates[-1]:,.0f} images/s, accuracy {accuracies[-1]:.1%}" if len(rates) else ""
        return f"{self.name}: {len(rates)} of {self.recipe.epochs} epochs{last}"

    def is_finished(self) -> bool:
        """Check whether all is there; raise MienError if the finished run has another recipe, but for its description."""
        reports = ["report", *self.reports, *(["report-crowd"] if self.recipe.votes.head else [])]
        if not all((self.folder / each / "metrics.json").is_file() for each in reports):
            return False
        had, wanted = (dict(flat(asdict(each))) for each in (mien.load_recipe(self.folder / "recipe.yaml"), self.recipe))
        differing = [key for key in {**had, **wanted} if key != "description" and had.get(key) != wanted.get(key)]
        if differing:
            listed = ", ".join(f"{key} {had.get(key)}, not {wanted.get(key)}" for key in differing)
            raise mien.MienError(f"{self.folder} was trained with {listed}; give another --out, or the --epochs it had.")
        return True


class Step(NamedTuple):
    """What a plan needs to know of a training: the epochs to train, the seconds of each, and what must be finished before."""

    name: str
    epochs: int
    seconds: float
    after: tuple[str, ...] = ()
    source: str = ""  # of the seconds

    @property
    def least(self) -> float:
        """The shortest time that brings it further: its start and one epoch, or its end."""
        return START + (self.seconds if self.epochs else FINISH)


class Planned(NamedTuple):
    """The epochs that a step trains in a call, and the second at which it would end."""

    epochs: int
    end: float


def next_step(waiting: Iterable[Step], finished: Collection[str], left: float) -> Step | None:
    """Choose the first step that may start: what it needs is finished, and there is time enough to bring it further."""
    return next((each for each in waiting if set(each.after) <= set(finished) and each.least <= left), None)


def plan(steps: Iterable[Step], finished: Iterable[str], at_once: int, seconds: float) -> dict[str, Planned]:
    """Predict what `train_all` does in a time; steps that do not start are missing."""
    waiting, running, done, now = list(steps), list[tuple[float, Step]](), set(finished), 0.0
    planned: dict[str, Planned] = {}
    while now <= seconds:
        while len(running) < at_once and (step := next_step(waiting, done, seconds - now)):
            waiting.remove(step)
            end = now + START + step.epochs * step.seconds + FINISH
            heapq.heappush(running, (end, step))
            planned[step.name] = Planned(int(min(step.epochs, (seconds - now - START) / step.seconds)), end)
        if not running:
            break
        now, step = heapq.heappop(running)
        done.add(step.name)
    return planned


def say(text: str) -> None:
    """Print a line with the minutes since the start."""
    print(f"[{(time.monotonic() - STARTED) / 60:5.1f} min] {text}", file=sys.stderr, flush=True)


def data_words(data: mien.DataSource) -> list[str]:
    """Write a source as words of a `mien` command."""
    votes = ["--data.votes", str(data.votes), "--data.votes_as", data.votes_as] if data.votes else []
    return ["--data", str(data.path), *votes]


def pack_faces(data: str, folder: Path) -> None:
    """Write training and validation faces as one PNG of `GRID` faces a row, with a table of their rows, labels and splits."""
    if subprocess.run(["git", "check-ignore", "-q", folder], capture_output=True).returncode == 1:
        raise mien.MienError(f"git does not ignore {folder}, and faces must not enter the repository; give --pack runs/packed.")
    every = mien.read_faces(data)
    faces = every.take(np.flatnonzero(np.isin(every.splits, [SPLITS.index(name) for name in USAGES])))
    count, side = len(faces), faces.size
    grid = np.zeros((-(-count // GRID) * GRID, side, side), np.uint8)
    grid[:count] = faces.images
    image = Image.fromarray(grid.reshape(-1, GRID, side, side).swapaxes(1, 2).reshape(-1, GRID * side))
    usages = [USAGES[SPLITS[split]] for split in faces.splits]
    rows = zip(faces.ids, faces.classes, usages, strict=True)
    lines = ["row,label,usage", *(f"{row.decode()},{faces.labels.names[label]},{usage}" for row, label, usage in rows)]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "faces.png", lambda part: image.save(part, "PNG"))
    write_whole(folder / "faces.csv", lambda part: part.write_text("\n".join([*lines, ""]), encoding="utf-8"))
    print(f"{count:,} faces, {(folder / 'faces.png').stat().st_size / 2**20:.1f} MiB: {folder}")


def unpack_faces(data: Path, out: Path) -> Path:
    """Write packed faces as Parquet into a folder, which mien reads as it does FER-2013; other data are left as they are."""
    if not (data / "faces.png").is_file():
        return data
    target = out / "fer2013.parquet"
    if target.is_file() and target.stat().st_mtime > (data / "faces.png").stat().st_mtime:
        return target
    from pyarrow import array, csv, parquet

    grid, table = np.asarray(Image.open(data / "faces.png")), csv.read_csv(data / "faces.csv")
    side = grid.shape[1] // GRID
    faces = grid.reshape(-1, side, GRID, side).swapaxes(1, 2).reshape(-1, side, side)
    images = [b"P5 %d %d 255\n" % (side, side) + face.tobytes() for face in faces[: len(table)]]
    out.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda part: parquet.write_table(table.append_column("image", array(images)), part))
    return target


def epoch_faces(recipe: Recipe, faces: mien.FaceSet) -> tuple[int, mien.FaceSet]:
    """Count the faces of an epoch, and give those that the run is measured on: validation, or the test where it is carved."""
    from mien.training.loop import arrange

    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        arranged = arrange(recipe, faces)
    counts = arranged.split("train").counts()
    count = max(counts) * np.count_nonzero(counts) if recipe.balance.augment_minorities else sum(counts)
    return int(count), arranged.split("validation" if recipe.own_validation else "test")


def cost(recipe: Recipe) -> float:
    """Estimate the work of a step relative to the network without options; compact_resnet has some."""
    options = recipe.network_options or {}
    return float((options.get("width", 1) * 2 / options.get("stride", 2)) ** 2)


def step_of(training: Training, trainings: Sequence[Training], kind: str, threads: int) -> Step:
    """Estimate the time of a run by its own epochs, else by those of one with the same network, else by `SPEEDS`."""
    recipe = training.recipe
    left = max(0, recipe.epochs - len(training.read_log()["images_per_second"]))
    on_cpu, on_gpu = SPEEDS.get(recipe.network, (50, 3000))
    asked = [each.recipe for each in trainings if str(each.folder) in recipe.distillation.teachers]
    work = cost(recipe) + sum(map(cost, asked)) / 3  # a teacher is not trained
    rate, source = float(on_cpu * threads if kind == "cpu" else on_gpu) / work, "by a table"
    alike = (recipe.network, recipe.network_options, len(asked))
    for each in (training, *trainings):
        of_each = (each.recipe.network, each.recipe.network_options, len(each.recipe.distillation.teachers))
        if of_each == alike and len(rates := each.read_log()["images_per_second"]):
            rate, source = float(np.median(rates[-5:])), f"as in {each.name}"
            break
    return Step(training.name, left, VALIDATION * training.faces / rate, training.after, source)


def train_all(trainings: Sequence[Training], at_once: int, device: str, minutes: float, threads: int = 0) -> bool:
    """Train what is not finished, several side by side in processes, first come first; return whether all is finished.

    Prints the plan first. When the minutes since the start of the script are over, or on SIGTERM or Ctrl-C, the processes are
    stopped, which keeps every whole epoch, and the next call continues. A run that fails leaves the others alone.
    """
    from mien.training.loop import choose_device

    if at_once < 1 or minutes < 0 or threads < 0:
        raise mien.MienError("Give --jobs of 1 or more, and --minutes and --threads of 0 (no limit, all cores) or more.")
    kind, threads = choose_device(device).type, threads or max(1, (os.cpu_count() or 1) // at_once)
    end = STARTED + 60 * minutes - CLOSE if minutes else inf
    finished = {each.name for each in trainings if each.is_finished()}
    known = {each.name: each for each in trainings}
    waiting = [step_of(each, trainings, kind, threads) for each in trainings if each.name not in finished]
    planned = plan(waiting, finished, at_once, left := end - time.monotonic())
    limit = f"{minutes:g} minutes" if minutes else "no limit of time"
    print(
        f"{at_once} at once on {kind}, {threads} threads each, {limit}; {len(finished)} of {len(trainings)} runs are finished"
    )
    for step in waiting:
        now = planned.get(step.name)
        fate = "not yet" if now is None else "finished" if now.end <= left else f"{now.epochs} epochs"
        total = f"{step.epochs} epochs of {step.seconds:.1f} s ({step.source}), {step.epochs * step.seconds / 60:.0f} min"
        print(f"  {step.name:<24} {fate:<11} of at most {total}", flush=True)
    if waiting and not planned:
        least = (time.monotonic() - STARTED + min(each.least for each in waiting) + CLOSE) / 60
        raise mien.MienError(f"No epoch fits into --minutes {minutes:g}; the shortest needs {least + 0.1:.1f}.")

    logs = trainings[0].folder.parent / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the processes
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    running, failed = dict[int, tuple[BaseProcess, str]](), set[str]()
    try:
        while (left := end - time.monotonic()) > 0:
            while len(running) < at_once and (step := next_step(waiting, finished, left)):
                waiting.remove(step)
                (logs / f"{step.name}.log").touch()
                process = get_context("spawn").Process(target=train_one, args=(known[step.name], device, threads, logs))
                process.start()
                running[process.sentinel] = process, step.name
                say(f"{step.name} starts; {logs / step.name}.log")
            if not running:
                break
            ended = connection.wait(list(running), timeout=min(60.0, left))
            for process, name in [running.pop(sentinel) for sentinel in ended]:
                process.join()
                (failed if process.exitcode else finished).add(name)
                last = (logs / f"{name}.log").read_text(errors="replace").strip().rpartition("\n")[2]
                say(f"{name} has failed with {process.exitcode}: {last}" if process.exitcode else f"{name} is finished")
            if not ended:
                say("; ".join(known[name].progress for _, name in running.values()))
    except KeyboardInterrupt:
        say("stopped")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for process, _ in running.values():
            process.terminate()
        for process, name in running.values():
            process.join(CLOSE)
            process.kill()  # where that was not enough
            say(f"{known[name].progress}; kept, and continued by the next call")
        signal.signal(signal.SIGTERM, before)
    return len(finished) == len(trainings)


def train_one(training: Training, device: str, threads: int, logs: Path) -> None:
    """Train a run in this process, and write its further reports; everything printed goes to a log."""
    with (logs / f"{training.name}.log").open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)  # waits for the process of an earlier call that is still ending
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    threading.Thread(target=end_with_parent, daemon=True).start()
    folder = training.folder
    try:
        how = {"resume": True, "device": device, "threads": threads, "command": training.command}
        mien.train(training.recipe, training.data, folder, **how)
        for name, (data, split) in training.reports.items():
            words = ["mien", "evaluate", folder, *data_words(data), "--split", split, "--out", folder / name]
            mien.evaluate(folder, data, folder / name, split, command=shlex.join(map(str, words)))
    except (mien.MienError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped")


def end_with_parent() -> None:
    """Stop this process, as SIGTERM does, when the one that started it has been killed."""
    if parent := parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
