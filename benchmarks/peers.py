"""Compare mien-s with packages that carry an expression model, on the same faces: docs/peers.md.

    python benchmarks/peers.py PEERS --data fer2013.csv --votes fer2013new.csv --out runs/peers

PEERS has a folder for each package: a virtual environment, or node_modules (docs/peers.md has the commands). Answers are kept
in --out; the times are measured by each call, in turn, each package in a process of its own, all on one core.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np

import mien
from mien.errors import load_table
from mien.evaluation.metrics import measure
from mien.evaluation.plots import markdown_table
from mien.files import write_whole
from mien.labels import meaning
from shared import parse, read_judged, say

TABLE = load_table(__file__)


def ask(peer: dict, folder: Path, faces: Path, count: int, repeats: int) -> str:
    """Let a package classify the first faces, and time it on a few."""
    python = [folder / "bin/python", "-c", TABLE["python"], peer["folder"], peer.get("snippet")]
    node = ["node", Path(__file__).with_suffix(".js"), peer["folder"], folder]
    words = [*(python if "snippet" in peer else node), faces, count, repeats]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if done.returncode:
        raise mien.MienError(f"{peer['folder']} failed: {done.stderr.strip()[-600:]}")
    return done.stdout.splitlines()[-1]


def cells(found: dict, faces: mien.FaceSet, places: np.ndarray) -> list[str]:
    """Write accuracy and macro F1 on faces, which are at these places among those given to the package."""
    order = [[meaning(label) for label in found["labels"]].index(name) for name in faces.labels]
    places = places[places < len(found["shares"])]
    shares = np.array(found["shares"])[places][:, order]
    result = measure(shares / shares.sum(axis=1, keepdims=True), faces.targets[: len(places)], faces.labels)
    few = f", n = {len(places):,}" * (len(places) < len(faces))
    return [f"{result.accuracy} ({result.accuracy.interval}{few})", f"{result.macro_f1:.3f}"]


if __name__ == "__main__":
    arguments = parse(__doc__, "peers", data=str, votes=str, out=Path, rounds=3)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # its processes too
    faces, voted = (read_judged(arguments.data, votes, "validation") for votes in (None, arguments.votes))
    arguments.out.mkdir(parents=True, exist_ok=True)
    faces.images.tofile(raw := arguments.out / "faces.bin")
    peers = {name: (peer, Path(arguments.peers, peer["folder"])) for name, peer in TABLE["peers"].items()}
    times = {name: [] for name in peers}
    for name, each in [*peers.items()] * arguments.rounds:
        times[name].append(np.median(json.loads(ask(*each, raw, 0, each[0].get("repeats", 200)))["times"]))
    rows = [["package", "FER-2013's labels", "macro F1", "FER+'s votes", "macro F1", "time", "model", "installed"]]
    for name, (peer, folder) in peers.items():
        kept = arguments.out / f"{name.replace('/', ' ')}.json"
        if not kept.is_file():
            answer = ask(peer, folder, raw, peer.get("faces", len(faces)), 0)
            write_whole(kept, lambda part, answer=answer: part.write_text(answer))
        found = json.loads(kept.read_text())
        ratio = np.median(np.divide(times[name], times[next(iter(peers))]))
        say(f"{name}: {np.round(times[name], 2)} ms; without a face: {found['faceless']}")
        judged = cells(found, faces, np.arange(len(faces))) + cells(found, voted, np.flatnonzero(np.isin(faces.ids, voted.ids)))
        files = [next(folder.glob(peer["model"])), *(each for each in folder.rglob("*") if not each.is_symlink())]
        model, *sizes = (each.stat().st_size / 1e6 for each in files if each.is_file())
        size = [f"{model:.2f} MB", f"{sum(sizes):,.0f} MB"]
        rows.append([f"{name} {found['version']}", *judged, f"{ratio:.2f}", *size])
    print(f"{len(faces):,} faces, {len(voted):,} with votes\n\n{markdown_table(rows)}")
