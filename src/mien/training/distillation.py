"""Distillation: a network learns to predict what its teachers predict for the same faces (Hinton et al., 2015).

Both see the same crop, rotation and scale (Beyer et al., 2022), only the student poor light, blur, noise and covered parts (Xie
et al., Self-training with noisy student, 2020). Predictions for views are computed once (Faghri et al., 2023).
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

TAUGHT = "taught.safetensors"  # file in a run folder: the teachers' predictions for each view
CHUNK = 512


class Teachers(nn.Module):
    """An ensemble of trained networks: the mean of their probabilities, all at one temperature, for the heads they share."""

    def __init__(self, networks: Sequence[FaceNetwork], temperature: float) -> None:
        super().__init__()
        self.networks, self.temperature = nn.ModuleList(networks), temperature
        self.heads = ("label", "crowd")[: min(len(network.heads) for network in networks)]
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, faces: Tensor) -> Tensor:
        """Map float32 faces (N, C, H, W) between 0 and 1 to probabilities (N, heads, K)."""
        logits = [cast(FaceNetwork, each).logits(faces)[:, : len(self.heads)] for each in self.networks]
        return torch.stack([torch.softmax(each / self.temperature, dim=2) for each in logits]).mean(0)


def load_teachers(recipe: Recipe, faces: FaceSet) -> Teachers:
    """Load a recipe's teachers, whose labels and faces must match the student's."""
    networks = []
    for folder in recipe.distillation.teachers:
        run = TrainedRun.open(Path(folder), "teacher")
        if run.labels != faces.labels:
            labels, expected = ", ".join(run.labels), ", ".join(faces.labels)
            raise MienError(f"The teacher {folder} has the labels {labels}, but the student has {expected}.")
        if (run.recipe.size, run.recipe.channels) != (recipe.size, recipe.channels):
            taken = f"takes faces of {run.recipe.size} pixels and {run.recipe.channels} channels, the student {recipe.size} and"
            raise MienError(f"The teacher {folder} {taken} {recipe.channels}; both must take the same faces.")
        networks.append(run.network())
    return Teachers(networks, recipe.distillation.temperature)


class Views:
    """Views of every training face, made again by seed and number when needed; predictions for them are kept in `out`."""

    def __init__(self, recipe: Recipe, faces: DeviceFaces, teachers: Teachers, out: Path) -> None:
        self.recipe, self.faces, file = recipe, faces, out / TAUGHT
        self.taught = load_file(file) if file.is_file() else {}
        for number in range(recipe.distillation.views):
            if str(number) not in self.taught:
                answers = [teachers(placed.to(faces.device)).cpu().half() for placed, _ in self._parts(number)]
                self.taught[str(number)] = torch.cat(answers)
                write_whole(file, lambda part: part.write_bytes(save(self.taught)))

    def of_epoch(self, epoch: int) -> DeviceFaces:
        """Return the faces of an epoch, with the teachers' predictions."""
        number = epoch % self.recipe.distillation.views
        seen = torch.cat([worsened for _, worsened in self._parts(number)])
        images = seen[:, 0] if seen.shape[1] == 1 else seen.permute(0, 2, 3, 1).contiguous()
        return self.faces.seen_as(images, self.taught[str(number)].float())

    def _parts(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Create a view in parts on the CPU: float32 faces (N, C, S, S) for the teachers, uint8 faces for the student."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed * 100_003 + 50_000 + number)
            for part in torch.split(self.faces.images, CHUNK):
                placed = place(pixels(part.cpu()), self.recipe.augmentation, self.recipe.crop)
                yield placed, (worsen(placed, self.recipe.augmentation).clamp(0, 1) * 255).round().to(torch.uint8)
