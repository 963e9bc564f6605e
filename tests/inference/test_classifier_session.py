import os
import subprocess
import sys

import onnx
import pytest
from PIL import Image

from mien.errors import MienError
from mien.inference.classifier import Classifier


def test_a_file_that_is_not_onnx_is_refused(tmp_path):
    for content in (b"", b"I am not a model.", bytes(5000)):
        (tmp_path / "text.onnx").write_bytes(content)
        with pytest.raises(MienError, match=r"text\.onnx"):
            Classifier(tmp_path / "text.onnx")


def test_providers_go_by_short_and_long_names(model):
    for name in ("cpu", "CPU", "CPUExecutionProvider"):
        assert Classifier(model, providers=[name]).providers == ["CPUExecutionProvider"]
    with pytest.raises(MienError, match=r"no provider 'abacus' here; it has .*cpu"):
        Classifier(model, providers=["abacus"])
    with pytest.raises(MienError, match="threads"):
        Classifier(model, threads=0)


def test_a_file_that_is_no_model_is_answered_with_what_to_give(tmp_path, model):
    whole = model.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other").mkdir()
    Image.new("L", (48, 48)).save(tmp_path / "other" / "photo.jpg")
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "recipe.yaml").write_text("network: wide_cnn")
    (tmp_path / "started" / "weights.safetensors").write_bytes(bytes(90))
    advice = {
        "cut.onnx": r"damaged or no ONNX file.*give a run folder or its model\.onnx",
        "other/photo.jpg": r"no model file; give a run folder, its model\.onnx",
        "last.ckpt": "not the model of its run; give the run folder",
        "started/weights.safetensors": "unfinished run; finish it with its `mien train .*--resume",
        "started": "not finished; finish it with its `mien train .*--resume",
    }
    for name, says in advice.items():
        with pytest.raises(MienError, match=says) as caught:
            Classifier(tmp_path / name)
        assert "ONNXRuntimeError" not in str(caught.value)


def test_a_model_of_a_later_onnx_is_not_called_damaged(model):
    later = onnx.load(model)
    later.ir_version = 99
    onnx.save(later, model)
    with pytest.raises(MienError, match="newer ONNX Runtime"):
        Classifier(model)


def test_onnx_runtime_tells_nobody_that_it_is_used(tmp_path):
    code = "import mien; mien.Classifier().predict_proba(__import__('numpy').zeros((1, 48, 48), 'uint8'))"
    clean = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", code], env=clean | {"HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))
