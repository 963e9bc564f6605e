"""Distillation: a network learns what its teachers answer to the very faces that it sees.

Distilling the knowledge in a neural network (Hinton et al., 2015). That both see the same crop, turned and scaled alike, for
many epochs, is from Knowledge distillation: a good teacher is patient and consistent (Beyer et al., 2022). That the student
alone sees it in bad light, out of focus, with noise and with parts covered, so that it learns to say of a bad photo what the
teacher says of the good one, is from Self-training with noisy student (Xie et al., 2020); that the answers to changed views
are computed once and kept, from Reinforce data, multiply impact (Faghri et al., 2023).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.files import write_whole
from mien.training.augmentation import place, worsen
from mien.training.batches import DeviceFaces
from mien.training.face_network import FaceNetwork, pixels
from mien.training.recipe import Recipe
from mien.training.transfer import TrainedRun

TAUGHT = "taught.safetensors"
"""In a run folder: what the teachers answered to each view."""

CHUNK = 512


class Teachers(nn.Module):
    """Trained networks that answer together: the mean of their probabilities, softened by one temperature.

    Attributes:
        heads: those that all of them have.
    """

    def __init__(self, networks: Sequence[FaceNetwork], temperature: float) -> None:
        super().__init__()
        self.networks, self.temperature = nn.ModuleList(networks), temperature
        self.heads = ("label", "crowd")[: min(len(network.heads) for network in networks)]
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, faces: Tensor) -> Tensor:
        """Map float32 faces (N, C, H, W) between 0 and 1, not made worse, to probabilities (N, heads, K)."""
        logits = [cast(FaceNetwork, each).logits(faces)[:, : len(self.heads)] for each in self.networks]
        answers = [torch.softmax(each / self.temperature, dim=2) for each in logits]
        return torch.stack(answers).mean(0)


def load_teachers(recipe: Recipe, faces: FaceSet) -> Teachers | None:
    """Load a recipe's teachers from their run folders; None where it names none.

    Raises:
        MienError: if one is not a finished run, or its faces or labels are not the student's.
    """
    named = recipe.distillation.teachers
    return Teachers([_teacher(Path(run), recipe, faces) for run in named], recipe.distillation.temperature) if named else None


def _teacher(run: Path, student: Recipe, faces: FaceSet) -> FaceNetwork:
    teacher = TrainedRun.open(run, "teacher")
    recipe, labels = teacher.recipe, teacher.labels
    if labels != faces.labels:
        raise MienError(f"The teacher {run} knows {', '.join(labels)}, the student is to learn {', '.join(faces.labels)}.")
    if (recipe.size, recipe.channels) != (student.size, student.channels):
        raise MienError(
            f"The teacher {run} takes faces of {recipe.size} pixels and {recipe.channels} channels, the student of "
            f"{student.size} and {student.channels}; both must see the same faces."
        )
    return teacher.network()


class Views:
    """Changed views of every training face, the same ones again and again, with what the teachers answered to each.

    Changes are drawn on the CPU from the seed and the view's number alone, so that a view can be made anew at any time.

    Args:
        recipe: says how many, and how they are changed.
        faces: the training faces.
        teachers: asked once for every view.
        out: the run folder, in which the answers are kept; those that are there are not asked for again.
    """

    def __init__(self, recipe: Recipe, faces: DeviceFaces, teachers: Teachers, out: Path) -> None:
        self.recipe, self.faces = recipe, faces
        file = out / TAUGHT
        self.taught = load_file(file) if file.is_file() else {}
        for number in range(recipe.distillation.views):
            if str(number) not in self.taught:
                answers = [teachers(placed.to(faces.device)).cpu().half() for placed, _ in self._parts(number)]
                self.taught[str(number)] = torch.cat(answers)
                write_whole(file, lambda part: part.write_bytes(save(self.taught)))

    def of_epoch(self, epoch: int) -> DeviceFaces:
        """Give the faces as an epoch sees them, with the teachers' answers."""
        number = epoch % self.recipe.distillation.views
        seen = torch.cat([worsened for _, worsened in self._parts(number)])
        images = seen[:, 0] if seen.shape[1] == 1 else seen.permute(0, 2, 3, 1).contiguous()
        return self.faces.seen_as(images, self.taught[str(number)].float())

    def _parts(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Make a view part by part, on the CPU: faces in their squares, float32 (N, C, S, S), and, uint8, worse photos."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed * 100_003 + 50_000 + number)
            for part in torch.split(self.faces.images, CHUNK):
                placed = place(pixels(part.cpu()), self.recipe.augmentation, self.recipe.crop)
                worsened = worsen(placed, self.recipe.augmentation)
                yield placed, (worsened.clamp(0, 1) * 255).round().to(torch.uint8)
