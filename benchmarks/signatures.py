"""How well copies of training faces are known by the signatures that a model file carries, on FER-2013.

    python benchmarks/signatures.py FER2013 [--tenth] [--sheet disputed.png]

FER2013 is whatever `--data` takes. What `mien audit` finds, with the faces of both sides at hand, counts as true: pairs whose
details correlate by 0.90 or more. PublicTest is searched for copies of Training, or, with --tenth, every tenth row of Training
for copies of the other nine. "disputed" are faces called near copies that the audit does not call so; --sheet shows each of
those of the middle threshold beside the training face it agrees with best, to be looked at.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mien.data import signatures as module
from mien.data.copies import find_copies
from mien.data.reading import read_faces
from mien.data.signatures import as_text, describe_training_rows

THRESHOLDS = (0.94, 0.92, 0.90, 0.88, 0.86)


def directly_near(images: np.ndarray, asked: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find by the audit's search which of the asked rows are exact copies of known rows, and which are near ones."""
    copies = find_copies(images)
    of_known = np.zeros(len(images), dtype=bool)
    of_known[copies.original[known]] = True
    near = np.zeros(len(images), dtype=bool)
    for one, other in (copies.pairs.T, copies.pairs.T[::-1]):
        near[one[of_known[other]]] = True
    exact = of_known[copies.original[asked]]
    return exact, near[copies.original[asked]] & ~exact


def main() -> None:
    """Print the table, and write the sheet if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tenth", action="store_true", help="every tenth row of Training against the rest of it")
    parser.add_argument("--sheet", type=Path, help="a picture of the disputed faces beside what they agree with")
    arguments = parser.parse_args()
    faces = read_faces(arguments.data)
    if arguments.tenth:
        faces = faces.split("train")
    images = np.asarray(faces.images)
    is_known = np.arange(len(images)) % 10 != 0 if arguments.tenth else faces.splits == 1
    known, asked = np.flatnonzero(is_known), np.flatnonzero(~is_known)
    exact, near = directly_near(images, asked, known)
    noted = describe_training_rows(images[known])
    print(f"{len(asked):,} faces against {noted.rows:,}: {exact.sum()} exact copies, {near.sum()} near ones by the audit")
    print(f"{len(noted.table):,} signatures, {len(as_text(noted)) / 1000:.0f} KB in the model file")
    for threshold in THRESHOLDS:
        module.SAME_PICTURE = threshold
        start = time.perf_counter()
        found = module.known_faces(images[asked], noted.table)
        seconds = time.perf_counter() - start
        called, right = found == module.NEAR, (found == module.NEAR) & near
        assert np.array_equal(found == module.EXACT, exact), "exact copies are known without fail"
        print(
            f"agreement {threshold:.2f}: {called.sum()} called near, {right.sum()} of the audit's "
            f"({right.sum() / near.sum():.1%}), {(called & ~near).sum()} disputed, {seconds:.1f} s"
        )
        if arguments.sheet and threshold == THRESHOLDS[len(THRESHOLDS) // 2]:
            write_sheet(images, asked[called & ~near], known, arguments.sheet)


def write_sheet(images: np.ndarray, disputed: np.ndarray, known: np.ndarray, path: Path) -> None:
    """Put every disputed face beside the known one it agrees with best, which is turned round where it is mirrored."""
    table, tiles = module.signatures(images[known]), []
    for row in disputed:
        for turned in (False, True):
            face = images[row : row + 1, :, ::-1] if turned else images[row : row + 1]
            alike = module._candidates(module._weights(face, 0, 0), signs_of(table))[1]
            hits = [one for one in alike if module.known_faces(face, table[one : one + 1])[0]]
            if hits:
                tiles.append(np.hstack([face[0], images[known[hits[0]]]]))
                break
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 10)
    rows = [np.hstack([np.pad(tile, 3, constant_values=255) for tile in tiles[i : i + 10]]) for i in range(0, len(tiles), 10)]
    Image.fromarray(np.vstack(rows)).resize((rows[0].shape[1] * 3 // 2, len(rows) * rows[0].shape[0] * 3 // 2)).save(path)


def signs_of(table: np.ndarray) -> np.ndarray:
    """Unpack signatures to signs of -1 and 1."""
    return np.unpackbits(table[:, : -module.DIGEST], axis=1).astype(np.float32) * 2 - 1


if __name__ == "__main__":
    main()
