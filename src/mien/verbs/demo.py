"""Every step on drawn faces, with the verbs as they are typed: data, training, report, predictions for photos."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from mien.errors import MienError
from mien.verbs import require

FACES_PER_LABEL = 160
MARK = "about-this-folder.txt"


def demo(*, out: Path = Path("demo"), run_verb: Callable[[list[str]], int]) -> int:
    """Run every step on drawn faces: data, training, report, predictions for photos.

    Args:
        out: the folder to make; an earlier demo there is replaced.
        run_verb: runs the words after `mien`.

    Returns:
        The exit status of the first step that fails, else 0.
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
    _say(f"1/5  Drawing {FACES_PER_LABEL} faces for each of seven expressions, as PNG files in a folder per label.")
    # validation and test show other people than training; a random split would share people between them
    write_folder(FACES_PER_LABEL, out / "faces", validation=0.15, test=0.2)
    photo = out / "drawn-photo.png"
    Image.fromarray(draw_photo(["happy", "surprise", "sad", "angry"], seed=5)[0]).save(photo)
    _say(f"     Look at {out / 'faces'} and {photo}.")

    grace_hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    model = str(out / "run")
    steps = [
        (
            "2/5  Training our compact network on them.",
            ["train", "few-faces", "--data", str(out / "faces"), "--out", model],
            f"The model is {out / 'run' / 'model.onnx'}, its log {out / 'run' / 'log.csv'}.",
        ),
        (
            "3/5  Measuring it on the test faces, which show other people than the training faces. (Drawn people are so alike\n"
            "     that some still count as near copies.)",
            ["evaluate", model, "--data", str(out / "faces"), "--out", str(out / "report")],
            f"Open {out / 'report' / 'index.html'} in a browser.",
        ),
        (
            "4/5  Asking it about a photo of four drawn people.",
            ["predict", str(photo), "--model", model, "--draw", str(out / "drawn-photo")],
            f"The answers are drawn into {out / 'drawn-photo'}.",
        ),
        (
            "5/5  Asking the embedded model, trained on FER-2013, about a real photo (Grace Hopper, from matplotlib).",
            ["predict", str(grace_hopper), "--draw", str(out / "real-photo")],
            f"The answers are drawn into {out / 'real-photo'}.",
        ),
    ]
    for title, words, where in steps:
        _say(f"\n{title}\n     $ mien {' '.join(words)}")
        if status := run_verb(words):
            return status
        _say(f"     {where}")
    _say(f"\nDone. Everything lies in {out}; `mien demo` replaces it when run again.")
    return 0


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
