"""How often tracking takes a frame for another shot, where faces fill the frames; for the thresholds in pipeline.yaml.

python benchmarks/cuts.py --data fer2013.csv
"""

import argparse

import numpy as np
from PIL import Image

import mien
from mien.inference.pipeline import coarse_view

PAIRS, SIDE, EDGE = 1500, 192, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    faces = mien.read_faces(parser.parse_args().data).split("validation").images
    random = np.random.default_rng(0)

    def frame(row: int, dx: float = 0, dy: float = 0, zoom: float = 1, gain: float = 1, add: float = 0) -> np.ndarray:
        width = SIDE / zoom
        left, top = (SIDE - width) / 2 + dx * SIDE, (SIDE - width) / 2 + dy * SIDE
        picture = Image.fromarray(faces[row]).resize((SIDE, SIDE))
        matrix = (1 / zoom, 0, left, 0, 1 / zoom, top)
        moved = np.asarray(picture.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR), float)
        inner = moved[EDGE:-EDGE, EDGE:-EDGE]  # without what moved in from outside
        return coarse_view(np.clip(inner * gain + add + random.normal(0, 5, inner.shape), 0, 255).astype(np.uint8))

    def moved(row: int, most: float) -> np.ndarray:
        return frame(row, *random.uniform(-most, most, 2), zoom=random.uniform(1 - most, 1 + most))

    rows = random.permutation(len(faces))[: 2 * PAIRS]
    cases = {
        "another person": [(frame(rows[2 * n]), frame(rows[2 * n + 1])) for n in range(PAIRS)],
        "moved by up to 3%": [(frame(row), moved(row, 0.03)) for row in rows[:PAIRS]],
        "moved by up to 8%": [(frame(row), moved(row, 0.08)) for row in rows[:PAIRS]],
        "light of 0.5 or 1.5": [(frame(row), frame(row, gain=random.choice([0.5, 1.5]))) for row in rows[:PAIRS]],
        "flash of 80 grays": [(frame(row), frame(row, add=80)) for row in rows[:PAIRS]],
    }
    for name, pairs in cases.items():
        change, likeness = [], []
        for before, now in pairs:
            change.append(np.abs(now - before).mean())
            one, other = before - before.mean(), now - now.mean()
            likeness.append((one * other).sum() / max(1e-6, np.linalg.norm(one) * np.linalg.norm(other)))
        for least, most in ((8, 0.5), (16, 0.3), (16, 0.5), (16, 0.7), (20, 0.5)):
            cut = (np.array(change) >= least) & (np.array(likeness) < most)
            print(f"{name}: {least} grays, correlation {most}: {cut.mean():.1%} of {PAIRS}")


if __name__ == "__main__":
    main()
