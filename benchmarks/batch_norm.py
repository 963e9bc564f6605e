"""What BatchNorm's statistics bring when they are measured anew on unchanged training faces: finished runs, before and after.

    python benchmarks/batch_norm.py --data fer2013.csv runs/ablations/as-it-is-0 runs/ablations/as-it-is-1

The runs must have been trained without precise_batch_norm; it is the first head, the label's, that is asked.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import mien
from mien.data.faceset import FaceSet
from mien.evaluation.metrics import measure
from mien.evaluation.report import markdown_table
from mien.evaluation.statistics import mcnemar
from mien.training.batches import DeviceFaces, ValidationBatches
from mien.training.face_network import FaceNetwork, measure_batch_norm
from mien.training.train import arrange
from mien.training.transfer import TrainedRun


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", help="FER+ votes (fer2013new.csv), for runs that learned from them")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        print(compared(arguments))
    except mien.MienError as mistake:
        sys.exit(f"batch_norm: {mistake}")


def compared(arguments: argparse.Namespace) -> str:
    """Measure every run with its statistics and with new ones.

    Raises:
        MienError: if a run is not finished, was trained with precise_batch_norm, or knows other labels than the data.
    """
    runs = {run: TrainedRun.open(run, "run") for run in arguments.runs}
    for name, run in runs.items():
        if run.recipe.precise_batch_norm:
            raise mien.MienError(f"{name} was trained with precise_batch_norm; there is nothing to compare.")
    beside = "beside" if arguments.votes else "distribution"
    source = mien.DataSource(arguments.data, votes=arguments.votes, votes_as=beside)
    table = [["run", "faces", "accuracy before", "after", "change in points, 95% interval", "log loss before", "after"]]
    for name, run in runs.items():
        faces = arrange(run.recipe, mien.read_faces(source, run.recipe.size, run.recipe.channels))
        judged, device = faces.split(arguments.split), torch.device("cpu")
        model, asked = run.network(), DeviceFaces(judged, device)
        before = answers(model, asked)
        measure_batch_norm(model, DeviceFaces(faces.split("train"), device))
        table.append([name.name, f"{len(judged):,}", *row(before, answers(model, asked), judged)])
    return markdown_table(table)


@torch.inference_mode()
def answers(model: FaceNetwork, faces: DeviceFaces) -> np.ndarray:
    """Give the probabilities of the first head, (N, K), not calibrated."""
    model.eval()
    logits = torch.cat([model(batch.faces)[:, 0] for batch in ValidationBatches(faces)])
    return torch.softmax(logits, dim=1).numpy()


def row(before: np.ndarray, after: np.ndarray, faces: FaceSet) -> list[str]:
    """Write the figures of one run."""
    right = [each.argmax(1) == faces.classes for each in (before, after)]
    paired = mcnemar(*right)
    losses = [measure(each, faces.targets, faces.labels).log_loss for each in (before, after)]
    change = f"{100 * paired.difference:+.2f}, {100 * paired.low:+.2f} to {100 * paired.high:+.2f}"
    return [*(f"{each.mean():.2%}" for each in right), change, *(f"{loss:.4f}" for loss in losses)]


if __name__ == "__main__":
    main()
