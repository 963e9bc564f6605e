"""What several benchmarks share: the command line, fresh processes, judged faces, finished runs."""

import argparse
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import mien
from mien.training.recipe import Recipe, flat


def parse(doc: str | None, *positional: str, **options: Any) -> argparse.Namespace:
    """Parse a command line of names with their `nargs` ("runs +"), and options by default, or by type where required."""
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


def is_finished(run: Path, recipe: Recipe) -> bool:
    """Check whether a run is finished; raise MienError if its recipe differs in more than its description."""
    if not ((run / "report" / "metrics.json").is_file() and (run / "model.onnx").is_file()):
        return False
    had, wanted = (dict(flat(asdict(each))) for each in (mien.load_recipe(run / "recipe.yaml"), recipe))
    differing = [key for key in {**had, **wanted} if key != "description" and had.get(key) != wanted.get(key)]
    if differing:
        listed = ", ".join(f"{key} {had.get(key)}, not {wanted.get(key)}" for key in differing)
        raise mien.MienError(f"{run} was trained with {listed}; give another --out, or the --epochs it had.")
    return True
