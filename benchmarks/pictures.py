"""Draw the pictures that the README and the docs show: run `python benchmarks/pictures.py`."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import mien
from mien.drawn import draw_face, draw_photo
from mien.labels import FER2013

IMAGES = Path(__file__).parent.parent / "docs" / "images"
RATE, SECONDS = 12.5, 6  # frames a second and seconds of the drawn video
SHOWN = (1.6, 4.8)  # seconds of the two frames that are shown of it


def drawn_video() -> Image.Image:
    """Annotate a video, and put two of its frames above the plot of its tracks."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "meeting.mp4", Path(folder) / "answers"
        write_video(path)
        for _ in mien.predict(path, draw=out):
            pass
        video = cv2.VideoCapture(str(out / path.name))
        frames = [video.read()[1] for _ in range(round(RATE * SECONDS))]
        video.release()
        plot = Image.open(out / "meeting.tracks.png").convert("RGB")
    pair = np.concatenate([frames[round(RATE * second)][..., ::-1] for second in SHOWN], axis=1)
    above, below = (
        image.resize((1000, round(1000 * image.height / image.width)), Image.Resampling.LANCZOS)
        for image in (Image.fromarray(pair), plot)
    )
    return Image.fromarray(np.concatenate([above, np.full((12, 1000, 3), 255, np.uint8), below]))


def write_video(path: Path) -> None:
    """Draw three people: one passes in front of another, one leaves and returns, and all change their expression."""
    width, height = 640, 360
    backdrop = draw_photo([], 4, width, height)[0]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (width, height))
    for number in range(round(RATE * SECONDS)):
        second, frame = number / RATE, backdrop.copy()
        people = [
            ("sad" if second < 3.2 else "neutral", 2, 470 - 5 * number, 30),
            ("happy" if second < 2 or second > 4 else "surprise", 1, 50 + 6 * number, 22),
            ("surprise" if second < 4.6 else "happy", 3, 300, 210),
        ]
        for expression, seed, x, y in people[:2] if 2.4 <= second < 3.6 else people:
            frame[y : y + 112, x : x + 112] = draw_face(expression, seed, 112)
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    rows = [np.concatenate([draw_face(label, seed, 128) for label in FER2013], axis=1) for seed in (1, 6, 13)]
    Image.fromarray(np.concatenate(rows)).save(IMAGES / "drawn-faces.jpg", quality=88)
    Image.fromarray(draw_photo(["happy", "surprise", "sad", "angry"], seed=5)[0]).save(IMAGES / "drawn-photo.jpg", quality=88)
    drawn_video().save(IMAGES / "drawn-video.jpg", quality=88)
