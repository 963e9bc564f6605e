"""What BatchNorm's statistics are worth, measured again on unchanged training faces: finished runs, before and after.

    python benchmarks/batch_norm.py --data fer2013.csv runs/ablations/as-it-is-0 runs/ablations/as-it-is-1

The runs must have been trained without precise_batch_norm; the first head, the label's, is measured. --votes is for runs that
learned from FER+'s votes.
"""

from pathlib import Path

import numpy as np
import torch

import mien
from mien.evaluation.metrics import measure
from mien.evaluation.report import markdown_table
from mien.evaluation.statistics import mcnemar
from mien.training.batches import DeviceFaces, in_order
from mien.training.face_network import FaceNetwork, measure_batch_norm
from mien.training.loop import arrange
from mien.training.transfer import TrainedRun
from shared import parse


@torch.inference_mode()
def probabilities(model: FaceNetwork, faces: DeviceFaces) -> np.ndarray:
    """Compute the probabilities of the first head, (N, K), not calibrated."""
    model.eval()
    logits = torch.cat([model(batch.faces)[:, 0] for batch in in_order(faces)])
    return torch.softmax(logits, dim=1).numpy()


if __name__ == "__main__":
    arguments = parse(__doc__, "runs +", data=str, votes=None, split="validation", threads=1)
    torch.set_num_threads(arguments.threads)
    votes_as = "beside" if arguments.votes else "distribution"
    source = mien.DataSource(arguments.data, votes=arguments.votes, votes_as=votes_as)
    table = [["run", "faces", "accuracy before", "after", "change in points, 95% interval", "log loss before", "after"]]
    for folder in map(Path, arguments.runs):
        trained = TrainedRun.open(folder, "run")
        if trained.recipe.precise_batch_norm:
            raise mien.MienError(f"{folder} was trained with precise_batch_norm; there is nothing to compare.")
        faces = arrange(trained.recipe, mien.read_faces(source, trained.recipe.size, trained.recipe.channels))
        judged, device = faces.split(arguments.split), torch.device("cpu")
        model, batches = trained.network(), DeviceFaces(judged, device)
        before = probabilities(model, batches)
        measure_batch_norm(model, DeviceFaces(faces.split("train"), device))
        pair = (before, probabilities(model, batches))
        right = [each.argmax(1) == judged.classes for each in pair]
        change = mcnemar(*right)
        points = "{:+.2f}, {:+.2f} to {:+.2f}".format(*(100 * np.array([change.difference, change.low, change.high])))
        losses = [f"{measure(each, judged.targets, judged.labels).log_loss:.4f}" for each in pair]
        table.append([folder.name, f"{len(judged):,}", *(f"{each.mean():.2%}" for each in right), points, *losses])
    print(markdown_table(table))
