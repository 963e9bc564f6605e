"""How many faces a second mien trains on, beside the plain way of most facial-expression repositories, with the same network.

    python benchmarks/training.py --data fer2013.csv --threads 2 [--networks compact_resnet six_conv] [--device cuda]

The plain way: about 4,096 training faces, stratified by label, as PNG files in a folder per class, read by torchvision's
ImageFolder with PIL transforms (gray, 48 pixels, flip, 10 degrees, a tenth of the side) in a DataLoader with workers;
the network in float32 and default memory format, `.to(device)` of every batch, cross-entropy, `loss.item()` in every step.

mien's way: the same faces, network, batch size and optimizer in mien's `ClassificationTask`, with the same kinds of random
changes. Loss, schedule and moving average are the recipe's, so mien does more in a step where its recipe has them. The
recipe's balancing of labels is left out, for the plain way has none. mien resamples bilinearly, PIL takes the nearest pixel.

Both are driven by the same loop. For mien it computes what `mien train` computes, without Lightning's Trainer: its hooks,
the progress bar, validation, log and checkpoint are left out, and every epoch has the same order.
The ways take turns, round by round. The first batches of every epoch are not counted, nor is the end of the workers; "ratio
with start" adds the wait for an epoch's first batch (the start of the workers) to an epoch of all the training rows. "data
alone" is the same without a network. The PNG files come from the file cache. Let nothing else run beside it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

import mien
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.training.augmentation import augment
from mien.training.batches import Batch, DeviceFaces, TrainingBatches
from mien.training.face_network import FaceNetwork, pixels
from mien.training.networks import NETWORKS, build_network
from mien.training.networks.blocks import NetworkSpec
from mien.training.recipe import Augmentation, Balance, Recipe
from mien.training.task import ClassificationTask
from mien.training.train import choose_device, describe_hardware

RECIPES = ("mien-s", "deepface-6", "mish-cnn", "six-conv", "wide-cnn")
"""Where a network's dropout, activation, batch size and optimizer are from; a network of none of them has the defaults."""

FACES, AUGMENTATION = 4096, Augmentation(flip=0.5, rotation=10, translation=0.1)
WARM_UP = 4
"""Batches of an epoch that are not counted: two workers prepare so many before the first of them is asked for."""

Way = tuple[Callable[[], DataLoader | TrainingBatches], Callable[[Any], object]]
"""A way to train: what gives the batches of an epoch, and what is done with one."""


def main() -> None:
    """Print a Markdown table, a line for each network and for the data alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="labelled faces, as `mien train --data` takes them")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="names of mien's networks (default all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default its own choice)")
    parser.add_argument("--seconds", type=float, default=20, help="counted in a round, for each way (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is printed (default 3)")
    parser.add_argument("--plain_workers", type=int, default=2, help="worker processes of the plain way (default 2)")
    arguments = parser.parse_args()
    if min(arguments.seconds, arguments.rounds, arguments.threads) <= 0 or arguments.plain_workers < 0:
        parser.error("seconds, rounds and threads must be above 0, plain_workers at least 0")
    try:
        measure(arguments)
    except MienError as mistake:
        print(mistake, file=sys.stderr)
        sys.exit(2)


def measure(arguments: argparse.Namespace) -> None:
    """Measure everything and print it as it comes.

    Raises:
        MienError: if torchvision, a network, the data or the device are not there, or the training faces are too few.
    """
    if find_spec("torchvision") is None:
        raise MienError("The plain way needs torchvision, which is not installed; run: pip install torchvision")
    device = choose_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    faces, rows = training_faces(arguments.data)
    recipes = {name: recipe_of(name) for name in arguments.networks}
    sizes = sorted({recipe.batch_size for recipe in recipes.values()})
    if len(faces) <= WARM_UP * sizes[-1]:
        raise MienError(f"There are {len(faces)} training faces; {WARM_UP + 1} batches of {sizes[-1]} are needed at least.")

    def line(name: str, batch_size: int, *ways: Way) -> None:
        rounds = [[pace(way, device, arguments.seconds) for way in ways] for _ in range(arguments.rounds)]
        print(row(name, batch_size, np.array(rounds), rows), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        pictures, ours, workers = write_pictures(faces, Path(folder)), DeviceFaces(faces, device), arguments.plain_workers
        loaders = {size: DataLoader(pictures, size, shuffle=True, num_workers=workers, drop_last=True) for size in sizes}
        print("| network | batch size | plain, images/s | mien, images/s | ratio | in the rounds | ratio with start |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for name, recipe in recipes.items():
            plain = plain_way(recipe, loaders[recipe.batch_size], ours)
            line(name, recipe.batch_size, plain, mien_way(recipe, ours))
        for size, loader in loaders.items():
            line("data alone", size, *data_alone(loader, ours))
    cores = f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads of torch, {workers} plain workers"
    count = f"{len(faces):,} of {rows:,} training faces; medians of {arguments.rounds} rounds of {arguments.seconds:g} s"
    print(f"\n{describe_hardware(device)}; {cores}; n = {count}")


def training_faces(path: str) -> tuple[FaceSet, int]:
    """Read a stratified subset of the training rows, and the number of all of them."""
    faces = mien.read_faces(path)
    name = "train" if "train" in faces.split_names else faces.split_names[0]
    train = faces.split(name)
    subset = train.carve(FACES / len(train), source=name, into="test").split("test") if len(train) > FACES else train
    return subset, len(train)


def recipe_of(network: str) -> Recipe:
    """Give the recipe that both ways follow: the network's own, with the random changes of the plain way."""
    recipe = {each.network: each for each in map(mien.load_recipe, RECIPES)}.get(network, Recipe(network=network))
    return replace(recipe, augmentation=AUGMENTATION, balance=Balance())


def pace(way: Way, device: torch.device, seconds: float) -> tuple[float, float]:
    """Train until so many seconds are counted.

    Returns:
        Images a second, and the seconds from asking for an epoch to its first batch.
    """
    epoch, step = way
    images, counted, starts = 0, 0.0, []
    while counted < seconds:
        began = clock(device)
        batches = epoch()
        for number, batch in enumerate(batches):
            if number == 0:
                starts.append(clock(device) - began)
            step(batch)
            if number == WARM_UP - 1:
                began = clock(device)
            if number < WARM_UP:
                continue
            images += len(batch[0])
            if number == len(batches) - 1 or counted + time.perf_counter() - began >= seconds:
                counted += clock(device) - began
                break  # before a loader ends its workers
    return images / counted, float(np.median(starts))


def clock(device: torch.device) -> float:
    """Read the clock when the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def row(name: str, batch_size: int, rounds: np.ndarray, rows: int) -> str:
    """Write a line of the table from what `pace` returned for both ways in each round: (rounds, 2, 2)."""
    rates, starts = rounds[..., 0], rounds[..., 1]
    (plain, ours), ratios = np.median(rates, axis=0), rates[:, 1] / rates[:, 0]
    plain_epoch, our_epoch = np.median(starts + rows / rates, axis=0)
    return (
        f"| {name} | {batch_size} | {plain:,.0f} | {ours:,.0f} | **{ours / plain:.2f}** "
        f"| {ratios.min():.2f} to {ratios.max():.2f} | {plain_epoch / our_epoch:.2f} |"
    )


def write_pictures(faces: FaceSet, folder: Path) -> Dataset:
    """Write the faces as PNG files, a folder per class, and open them as such repositories do."""
    from torchvision import datasets, transforms

    for number, (image, label) in enumerate(zip(faces.images, faces.classes, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number}.png")
    changes = [
        transforms.Grayscale(1),
        transforms.Resize(48),
        transforms.RandomHorizontalFlip(AUGMENTATION.flip),
        transforms.RandomAffine(AUGMENTATION.rotation, translate=(AUGMENTATION.translation, AUGMENTATION.translation)),
        transforms.ToTensor(),
        transforms.Normalize(0.5, 0.5),
    ]
    return datasets.ImageFolder(str(folder), transforms.Compose(changes))


def fresh_network(recipe: Recipe, faces: DeviceFaces) -> nn.Module:
    """Build a network, for both ways with the same weights."""
    torch.manual_seed(recipe.seed)
    return build_network(recipe.network, NetworkSpec.of(recipe, faces.targets.shape[1]))


def plain_way(recipe: Recipe, loader: DataLoader, faces: DeviceFaces) -> Way:
    """Train as a plain script does, on the files of the same faces."""
    network = fresh_network(recipe, faces).to(faces.device).train()
    how = recipe.optimizer
    sgd = partial(optim.SGD, momentum=how.momentum, nesterov=how.momentum > 0)
    kind = {"sgd": sgd, "adam": optim.Adam, "adamw": optim.AdamW}[how.name]
    optimizer = kind(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
    losses: list[float] = []

    def step(batch: list[torch.Tensor]) -> None:
        images, labels = (part.to(faces.device) for part in batch)
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    return lambda: loader, step


def mien_way(recipe: Recipe, faces: DeviceFaces) -> Way:
    """Train as `mien train` does."""
    model = FaceNetwork.of(recipe, fresh_network(recipe, faces))
    task = ClassificationTask(model, recipe, faces, faces).to(faces.device).train()
    optimizer = task.configure_optimizers()

    def epoch() -> TrainingBatches:
        task.on_train_epoch_start()
        return task.train_dataloader()

    def step(batch: Batch) -> None:
        loss = task.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.on_train_batch_end()

    return epoch, step


def data_alone(loader: DataLoader, faces: DeviceFaces) -> tuple[Way, Way]:
    """Bring both ways' batches to the device, changed at random and normalised, and no more."""
    normalise = FaceNetwork(nn.Identity(), mean=0.5, std=0.5)
    plain = (lambda: loader, lambda batch: [part.to(faces.device) for part in batch])
    batches = TrainingBatches(faces, loader.batch_size, seed=0, epoch=0)
    return plain, (lambda: batches, lambda batch: normalise.logits(augment(pixels(batch[0]), AUGMENTATION)))


if __name__ == "__main__":
    main()
