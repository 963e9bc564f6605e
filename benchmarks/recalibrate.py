"""Fit the temperatures of an embedded model anew, as training does, on PublicTest's faces and worse copies of them.

    python benchmarks/recalibrate.py mien-s --data fer2013.csv --votes fer2013new.csv

Writes the model with its weights unchanged, and its int8 version. The logits are the logarithms of the probabilities, times the
temperature. The cards are not written: see `mien evaluate` and the lines printed here for their figures.
"""

import json

import numpy as np
import onnx
import torch

import mien
from mien.files import write_whole
from mien.inference.classifier import HEADS, MODELS, Classifier
from mien.inference.model_file import sha256
from mien.training.batches import DeviceFaces
from mien.training.export import calibrate
from shared import parse

KEYS = {"label": "mien.temperature", "crowd": "mien.crowd_temperature"}  # of the metadata


class Logits:
    """A model file as a network: the logits of faces (N, S, S), (N, heads, K)."""

    def __init__(self, model: Classifier) -> None:
        self.heads, opened = model.heads, model.with_prior("training")
        self._models = [(float(model.metadata[KEYS[head]]), opened.with_head(head)) for head in self.heads]

    def __call__(self, faces: torch.Tensor) -> torch.Tensor:
        """Classify uint8 faces."""
        every = [temperature * np.log(model.predict_proba(faces.numpy()).clip(1e-37)) for temperature, model in self._models]
        return torch.from_numpy(np.stack(every, axis=1))


if __name__ == "__main__":
    arguments = parse(__doc__, "name", data=str, votes=str)
    path = MODELS / f"{arguments.name}.onnx"
    model, file = Classifier(path, threads=1), onnx.load(path)
    data = mien.DataSource(arguments.data, votes=arguments.votes, votes_as="beside")
    faces = mien.read_faces(data, model.size, model.channels).split("validation")
    temperatures, rows = calibrate(Logits(model), DeviceFaces(faces, torch.device("cpu")), [1.0] * len(model.heads))
    metadata = model.metadata | {"mien.calibrated_on": json.dumps(rows)}
    made_by = {output: node for node in file.graph.node for output in node.output}
    constants = {each.name: each for each in file.graph.initializer}
    for head, temperature in zip(model.heads, temperatures, strict=True):
        divided = made_by[made_by[HEADS[head]].input[0]]  # what the softmax is of
        was = onnx.numpy_helper.to_array(constant := constants[divided.input[1]])
        if divided.op_type != "Div" or not np.allclose(was, float(metadata[KEYS[head]])):
            raise mien.MienError(f"{path} does not divide its logits by the temperature of its metadata.")
        constant.CopyFrom(onnx.numpy_helper.from_array(np.full_like(was, temperature), constant.name))
        print(f"{head}: {metadata[KEYS[head]]}, now {temperature}; {rows}")
        metadata[KEYS[head]] = repr(temperature)
    onnx.helper.set_model_props(file, metadata)
    write_whole(path, lambda part: part.write_bytes(file.SerializeToString()))
    small = path.with_name(f"{arguments.name}-int8.onnx")
    print(mien.quantize(path, arguments.data, small, quiet=True).table())
    print(*(f"{each.name}: {each.stat().st_size:,} bytes, sha256 {sha256(each)}" for each in (path, small)), sep="\n")
