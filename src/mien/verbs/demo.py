"""Every step on drawn faces, with the verbs as they are typed: data, training, report, predictions for photos."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mien.errors import say
from mien.files import FolderKind, check_folder, write_whole
from mien.verbs import require

FACES_PER_LABEL = 160
DEMO = FolderKind("about-this-folder.json", "demo", "mien demo")  # all of which `mien demo` replaces when run again
STEPS = Path(__file__).with_name("demo.txt")  # of each step its title, the words after `mien`, and what came out


def demo(*, out: Path = Path("demo"), run_verb: Callable[[list[str]], int]) -> int:
    """Run every step on drawn faces: data, training, report, predictions for photos.

    The exit status is that of the first step that fails, else 0.

    Args:
        out: the folder to make; an earlier demo there is replaced.
        run_verb: runs the words after `mien`.
    """
    require("train", "torch", "sklearn", "matplotlib")
    if check_folder(out, DEMO):
        shutil.rmtree(os.path.realpath(out))
    out.mkdir(parents=True, exist_ok=True)
    try:
        return _run_steps(out, run_verb)
    finally:
        _list_files(out)


def _list_files(out: Path) -> None:
    """Write the list of all files, by which the next demo knows what it may replace."""
    files = [DEMO.record, *(path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir())]
    record = json.dumps({"made_by": DEMO.made_by, "format": DEMO.format, "files": files}, indent=2)
    write_whole(out / DEMO.record, lambda part: part.write_text(record, encoding="utf-8"))


def _run_steps(out: Path, run_verb: Callable[[list[str]], int]) -> int:
    import matplotlib
    from PIL import Image

    from mien.drawn import draw_photo, write_folder

    _list_files(out)
    say(f"1/5  Drawing {FACES_PER_LABEL} faces for each of seven expressions, as PNG files in a folder per label.")
    # validation and test show other people than training; a random split would share people between them
    write_folder(FACES_PER_LABEL, out / "faces", validation=0.15, test=0.2)
    photo = out / "drawn-photo.png"
    Image.fromarray(draw_photo(["happy", "surprise", "sad", "angry"], seed=5)[0]).save(photo)
    say(f"     Look at {out / 'faces'} and {photo}.")
    places = {"out": out, "samples": Path(matplotlib.get_data_path()) / "sample_data"}
    for step in STEPS.read_text(encoding="utf-8").split("\n\n"):
        _list_files(out)
        *title, command, result = step.splitlines()
        words = [word.format(**places) for word in command.split()]
        for line in ("", *title, f"     $ mien {' '.join(words)}"):
            say(line)
        if status := run_verb(words):
            return status
        say(f"     {result.format(**places)}")
    say("")
    say(f"Done. Everything lies in {out}; `mien demo` replaces it when run again.")
    return 0
