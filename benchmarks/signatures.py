"""How well the signatures in a model file recognise copies of training faces, on FER-2013.

    python benchmarks/signatures.py FER2013 [--tenth] [--sheet disputed.png]

What `mien audit` finds counts as true: pairs whose details correlate by 0.90 or more. PublicTest is searched for copies of
Training, or every tenth row of Training for copies of the rest. --sheet shows what only signatures call near copies.
"""

import time

import numpy as np
from PIL import Image
from sklearn.preprocessing import scale

from mien.data import signatures as module
from mien.data.copies import find_copies
from mien.data.reading import read_faces
from mien.data.signatures import as_text, describe_training_rows
from shared import parse

THRESHOLDS = (0.94, 0.92, 0.90, 0.88, 0.86)


def audited(images: np.ndarray, asked: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find by the audit's search which of the asked rows are exact copies of known rows, and which are near ones."""
    copies = find_copies(images)
    of_known, near = np.zeros((2, len(images)), dtype=bool)
    of_known[copies.original[known]] = True
    for one, other in (copies.pairs.T, copies.pairs.T[::-1]):
        near[one[of_known[other]]] = True
    exact = of_known[copies.original[asked]]
    return exact, near[copies.original[asked]] & ~exact


def write_sheet(disputed: np.ndarray, known: np.ndarray, path: str) -> None:
    """Show every disputed face, (n, H, W), beside the known one it correlates with best, flipped where that one is mirrored."""
    both = np.stack([disputed, disputed[:, :, ::-1]], axis=1)  # (n, 2, H, W)
    asked, rows = (scale(each.reshape(-1, known[0].size).astype(np.float32), axis=1) for each in (both, known))
    scores = (asked @ rows.T).reshape(len(disputed), -1)  # (n, 2 * known)
    turned, best = np.divmod(scores.argmax(axis=1), len(known))
    tiles = [np.pad(np.hstack([pair[side], known[row]]), 3) for pair, side, row in zip(both, turned, best, strict=True)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 10)
    sheet = Image.fromarray(np.vstack([np.hstack(tiles[start : start + 10]) for start in range(0, len(tiles), 10)]))
    sheet.resize((sheet.width * 3 // 2, sheet.height * 3 // 2)).save(path)


if __name__ == "__main__":
    arguments = parse(__doc__, "data", tenth=False, sheet=None)
    faces = read_faces(arguments.data)
    faces = faces.split("train") if arguments.tenth else faces
    images = np.asarray(faces.images)
    is_known = np.arange(len(images)) % 10 != 0 if arguments.tenth else faces.splits == 1
    known, asked = np.flatnonzero(is_known), np.flatnonzero(~is_known)
    exact, near = audited(images, asked, known)
    noted = describe_training_rows(images[known])
    print(f"{len(asked):,} faces against {noted.rows:,}: {exact.sum()} exact copies, {near.sum()} near ones by the audit")
    print(f"{len(noted.table):,} signatures, {len(as_text(noted)) / 1000:.0f} KB in the model file")
    for threshold in THRESHOLDS:
        module.SAME_PICTURE = threshold
        start = time.perf_counter()
        found = module.known_faces(images[asked], noted.table)
        seconds = time.perf_counter() - start
        called, right = found == module.NEAR, (found == module.NEAR) & near
        assert np.array_equal(found == module.EXACT, exact), "exact copies are always recognised"
        print(
            f"agreement {threshold:.2f}: {called.sum()} called near, {right.sum()} of the audit's "
            f"({right.sum() / near.sum():.1%}), {(called & ~near).sum()} disputed, {seconds:.1f} s"
        )
        if arguments.sheet and threshold == THRESHOLDS[len(THRESHOLDS) // 2]:
            write_sheet(images[asked[called & ~near]], images[known], arguments.sheet)
