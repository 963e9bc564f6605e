"""How many faces a second mien trains on, against the plain loop of most facial-expression repositories, with the same network.

    python benchmarks/training.py --data fer2013.csv --threads 2  # or --device cuda --plain-workers 12 --seconds 2 --rounds 2

Plain: 4,096 training faces as PNG files in a folder per class, read by torchvision's ImageFolder with PIL transforms in a
DataLoader with workers; float32, cross-entropy, `loss.item()` in every step. mien: the same faces, network, batch size,
optimizer and kinds of augmentation, in the real loop: on a GPU in bfloat16 with captured steps. "ratio with start"
adds the wait for the first batch (the start of the workers) to an epoch of all rows.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

import mien
from mien.training.batches import DeviceFaces, TrainingBatches
from mien.training.loop import choose_device, describe_hardware, open_fabric
from mien.training.networks import NETWORKS, FaceNetwork, build_network
from mien.training.recipe import Augmentation, Balance, Recipe
from mien.training.task import ClassificationTask
from shared import parse

RECIPES = ("mien-s", "deepface-6", "mish-cnn", "six-conv", "wide-cnn")  # of their networks; others have the defaults
FACES, AUGMENTATION = 4096, Augmentation(flip=0.5, rotation=10, translation=0.1)
WARM_UP = 4  # uncounted batches of an epoch: two workers prepare so many at once, and a GPU's step is captured with the fourth

Loop = tuple[Callable[[], DataLoader | TrainingBatches], Callable[[Any], object]]  # the batches of an epoch, a step


def pace(loop: Loop, device: torch.device, seconds: float) -> tuple[float, float]:
    """Train until so many seconds are counted: images a second, and the seconds to an epoch's first batch."""

    def clock() -> float:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter()

    epoch, step = loop
    images, counted, starts = 0, 0.0, []
    while counted < seconds:
        began = clock()
        batches = epoch()
        for number, batch in enumerate(batches):
            if number == 0:
                starts.append(clock() - began)
            step(batch)
            if number == WARM_UP - 1:
                began = clock()
            if number < WARM_UP:
                continue
            images += len(batch[0])
            if number == len(batches) - 1 or counted + time.perf_counter() - began >= seconds:
                counted += clock() - began
                break  # before a loader ends its workers
    return images / counted, float(np.median(starts))


def write_pictures(faces: mien.FaceSet, folder: Path) -> Dataset:
    """Write the faces as PNG files, a folder per class, and open them as such repositories do."""
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
    """Build a network, with the same weights for both loops."""
    torch.manual_seed(recipe.seed)
    return build_network(recipe, faces.targets.shape[1])


def plain_loop(recipe: Recipe, loader: DataLoader, faces: DeviceFaces) -> Loop:
    network, settings = fresh_network(recipe, faces).to(faces.device).train(), recipe.optimizer
    how = {"momentum": settings.momentum, "nesterov": settings.momentum > 0} if settings.name == "sgd" else {}
    kind = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW}[settings.name]
    optimizer = kind(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, **how)

    def step(batch: list[torch.Tensor]) -> None:
        images, labels = (part.to(faces.device) for part in batch)
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return lambda: loader, step


def mien_loop(recipe: Recipe, faces: DeviceFaces) -> Loop:
    model = FaceNetwork(recipe, fresh_network(recipe, faces))
    task = ClassificationTask(open_fabric(faces.device, 1, 1)[0], model, faces, faces, None)
    return partial(task.start_epoch, 0), lambda batch: task.step(batch)  # which the first epoch makes


if __name__ == "__main__":
    arguments = parse(
        __doc__, data=str, networks=list(NETWORKS), device="auto", threads=torch.get_num_threads(), seconds=20.0, rounds=3,
        plain_workers=2,
    )  # fmt: skip
    device = choose_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    every = mien.read_faces(arguments.data)
    train = every.split(name := "train" if "train" in every.split_names else every.split_names[0])
    faces = train.carve(FACES / len(train), source=name, into="test").split("test") if len(train) > FACES else train
    known = {each.network: each for each in map(mien.load_recipe, RECIPES)}
    changes = {"augmentation": AUGMENTATION, "balance": Balance()}
    recipes = {name: replace(known.get(name, Recipe(network=name)), **changes) for name in arguments.networks}
    sizes = sorted({recipe.batch_size for recipe in recipes.values()})
    if len(faces) <= WARM_UP * sizes[-1]:
        raise mien.MienError(f"There are {len(faces)} training faces; {WARM_UP + 1} batches of {sizes[-1]} are needed.")

    with tempfile.TemporaryDirectory() as folder:
        pictures, on_device, workers = write_pictures(faces, Path(folder)), DeviceFaces(faces, device), arguments.plain_workers
        loaders = {size: DataLoader(pictures, size, shuffle=True, num_workers=workers, drop_last=True) for size in sizes}
        print("| network | batch size | plain, images/s | mien, images/s | ratio | in the rounds | ratio with start |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for name, recipe in recipes.items():
            size = recipe.batch_size
            loops = (plain_loop(recipe, loaders[size], on_device), mien_loop(recipe, on_device))
            rounds = np.array([[pace(loop, device, arguments.seconds) for loop in loops] for _ in range(arguments.rounds)])
            rates, starts = rounds[..., 0], rounds[..., 1]  # (rounds, 2)
            (plain, ours), ratios = np.median(rates, axis=0), rates[:, 1] / rates[:, 0]
            plain_epoch, our_epoch = np.median(starts + len(train) / rates, axis=0)
            spread = f"{ratios.min():.2f} to {ratios.max():.2f} | {plain_epoch / our_epoch:.2f}"
            print(f"| {name} | {size} | {plain:,.0f} | {ours:,.0f} | **{ours / plain:.2f}** | {spread} |", flush=True)
    counts = f"{os.cpu_count()} CPU cores, {arguments.threads} threads, {workers} plain workers"
    print(f"\n{describe_hardware(device)}; {counts}; n = {len(faces):,} of {len(train):,} training faces; ", end="")
    print(f"{arguments.rounds} rounds of {arguments.seconds:g} s")
