"""Every step on drawn faces, with the verbs as they are typed: data, training, report, predictions for photos."""

import shutil
from collections.abc import Callable
from pathlib import Path

from mien.errors import MienError, say
from mien.verbs import require

FACES_PER_LABEL = 160
MARK = "about-this-folder.txt"
STEPS = Path(__file__).with_name("demo.txt")  # of each step its title, the words after `mien`, and what came out


def demo(*, out: Path = Path("demo"), run_verb: Callable[[list[str]], int]) -> int:
    """Run every step on drawn faces: data, training, report, predictions for photos.

    The exit status is that of the first step that fails, else 0.

    Args:
        out: the folder to make; an earlier demo there is replaced.
        run_verb: runs the words after `mien`.
    """
    require("train", "torch", "sklearn", "matplotlib")
    import matplotlib
    from PIL import Image

    from mien.drawn import draw_photo, write_folder

    if out.exists() and not (out / MARK).is_file():
        raise MienError(f"{out} exists and is not a demo's folder; choose another with --out.")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARK).write_text("Made by `mien demo`, which replaces this whole folder when run again.\n", encoding="utf-8")
    say(f"1/5  Drawing {FACES_PER_LABEL} faces for each of seven expressions, as PNG files in a folder per label.")
    # validation and test show other people than training; a random split would share people between them
    write_folder(FACES_PER_LABEL, out / "faces", validation=0.15, test=0.2)
    photo = out / "drawn-photo.png"
    Image.fromarray(draw_photo(["happy", "surprise", "sad", "angry"], seed=5)[0]).save(photo)
    say(f"     Look at {out / 'faces'} and {photo}.")
    places = {"out": out, "samples": Path(matplotlib.get_data_path()) / "sample_data"}
    for step in STEPS.read_text(encoding="utf-8").split("\n\n"):
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
