"""Several processes that train together, on a CPU."""

import csv
import os
import shlex
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors.numpy import load_file

from mien.drawn import draw_faces, write_folder
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.training import loop
from mien.training.loop import train
from mien.training.recipe import Augmentation, Balance, load_recipe


def log(run):
    keys = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
    with (run / "log.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file) for key in keys]


@pytest.mark.slow
def test_two_processes_compute_what_one_computes_and_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_finish", lambda *_: None)  # no export, which nothing here looks at
    nothing = Augmentation(flip=0)
    recipe = replace(load_recipe("mien-s"), epochs=2, batch_size=16, dropout=0.0, augmentation=nothing, ema=0.9)
    recipe = replace(recipe, balance=Balance(class_weights=True, sampler=True, augment_minorities=True, copies=nothing))
    faces = draw_faces(6, validation=0.25)
    for processes in (1, 2):
        train(recipe, faces, tmp_path / str(processes), threads=1, devices=processes)
    assert log(tmp_path / "1") == pytest.approx(log(tmp_path / "2"), rel=1e-3, abs=1e-3)
    one, two = (load_file(tmp_path / run / "weights.safetensors") for run in "12")
    assert all(abs(one[name] - two[name]).max() < 1e-3 for name in one)
    (tmp_path / "2" / "weights.safetensors").unlink()
    train(recipe, faces, tmp_path / "2", resume=True, threads=1, devices=2)
    again = load_file(tmp_path / "2" / "weights.safetensors")
    assert all((two[name] == again[name]).all() for name in two)


def torchrun(folder, *flags, cache="cache"):
    """Start processes that train on folder/faces."""
    words = shlex.split("few-faces --data faces --out run --recipe.epochs 1 --recipe.batch_size 8 --threads 1")
    command = [sys.executable, "-m", "torch.distributed.run", *flags, "-m", "mien.cli", "train", *words]
    environment = os.environ | {"MIEN_CACHE": str(folder / cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_torchrun_starts_processes_of_which_one_writes_and_prints(tmp_path):
    write_folder(8, tmp_path / "faces", validation=0.25)
    process = torchrun(tmp_path, "--nproc_per_node", "2")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert err.count("epoch   1/1") == err.count("reading faces as") == out.count("validation split of") == 1
    assert (tmp_path / "run" / "report" / "index.html").is_file()


@pytest.mark.slow
def test_two_nodes_train_one_network_of_which_the_first_writes_and_prints(tmp_path):
    write_folder(8, tmp_path / "faces", validation=0.25)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"--nnodes 2 --nproc_per_node 1 --master_addr 127.0.0.1 --master_port {free.getsockname()[1]}".split()
    nodes = [torchrun(tmp_path, *place, "--node_rank", rank, cache=f"cache-{rank}") for rank in "01"]
    told = [node.communicate(timeout=280) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told
    assert [err.count("epoch   1/1") for _, err in told] == [1, 0]
    assert [out.count("validation split of") for out, _ in told] == [1, 0]
    assert Classifier(tmp_path / "run").metadata["mien.hardware"].startswith("2 x 1 cpu threads")


def test_processes_need_a_batch_that_can_be_divided_and_devices_that_exist(drawn, recipe, tmp_path):
    with pytest.raises(MienError, match=r"2 processes share a batch; choose a --recipe\.batch_size that is a multiple of 2"):
        train(replace(recipe, batch_size=15), drawn, tmp_path / "run", device="cpu", nodes=2, quiet=True)
    for wrong in ({"devices": 0}, {"devices": 100_000}, {"nodes": 0}):
        with pytest.raises(MienError, match="--devices must be between 1 and"):
            train(recipe, drawn, tmp_path / "run", device="cpu", quiet=True, **wrong)
    assert not (tmp_path / "run").exists()
