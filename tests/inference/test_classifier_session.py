import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
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


FACES = np.random.default_rng(0).integers(0, 256, (9, 48, 48)).astype(np.uint8)


def run_folder(model, folder):
    run = folder / "runs" / "first"
    run.mkdir(parents=True)
    shutil.copy(model, run / "model.onnx")
    return run


def test_a_pickled_classifier_opens_its_file_again_in_another_process(model, tmp_path, monkeypatch):
    run = run_folder(model, tmp_path)
    monkeypatch.chdir(tmp_path)
    relative = Path("runs/first")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for classifier in (Classifier("mien-s", threads=1, head="label"), Classifier(run), Classifier(relative, ["cpu"])):
            assert len(pickle.dumps(classifier)) < max(5_000, classifier.path.stat().st_size / 10)  # no weights
            there = pool.submit(classifier.predict_proba, FACES).result()
            np.testing.assert_allclose(there, classifier.predict_proba(FACES), atol=1e-5)
    pickled = pickle.dumps(Classifier(relative))
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).providers == ["CPUExecutionProvider"]


def test_a_copy_has_the_head_of_its_original_and_another_head_shares_the_session(model):
    classifier = Classifier("mien-s", threads=1)
    label = classifier.with_head("label")
    assert label._session is classifier._session
    assert pickle.loads(pickle.dumps(label)).head == "label"
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(label))))
    np.testing.assert_allclose(again.predict_proba(FACES), label.predict_proba(FACES), atol=1e-5)


def test_a_pickle_whose_file_was_moved_says_so(model, tmp_path):
    run = run_folder(model, tmp_path)
    pickled = pickle.dumps(Classifier(run))
    run.rename(tmp_path / "elsewhere")
    with pytest.raises(MienError, match=r"no model file '.*model.onnx'; check the path"):
        pickle.loads(pickled)


def test_threads_share_a_classifier():
    classifier = Classifier("mien-s", threads=1)
    alone = [classifier.predict_proba(FACES[i : i + 1 + i % 4]) for i in range(9)]
    with ThreadPoolExecutor(8) as pool:
        for together in pool.map(lambda _: [classifier.predict_proba(FACES[i : i + 1 + i % 4]) for i in range(9)], range(16)):
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_array_equal(one, other)
