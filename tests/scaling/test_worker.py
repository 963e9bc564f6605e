"""A worker of a job: parts are written whole and once, and a batch that memory does not suffice for is halved."""

import json
import os
import re

import numpy as np
import pytest
from pyarrow import parquet

from mien import __version__
from mien.inference.classifier import Classifier
from mien.inference.model_file import sha256
from mien.inference.output import write_file
from mien.inference.pipeline import predict
from mien.scaling import worker
from mien.scaling.parts import part_name
from mien.scaling.worker import MOST_KILLS, Job, PartPredictor, count_part, list_parts, remove_tries


@pytest.fixture
def job(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a worker enters the caller's folder
    (tmp_path / "out").mkdir()
    told = {"source": [str(photos)], "filesystem": None, "folder": os.getcwd(), "out": "out", "model": "mien-s"}  # noqa: PTH109
    told |= {"model_sha256": sha256(Classifier().path), "version": __version__, "detector": "auto", "options": {}}
    return Job(**told, batch_size=8, threads=2, part_size=5)


def run(job, predictor=None):
    predictor = predictor or PartPredictor(job)
    parts = [(batch["number"][0], batch["items"][0]) for batch in list_parts(None, job)]
    return [predictor.answer(number, items) for number, items in parts]


def test_parts_hold_the_rows_of_predict_in_its_order(job, photos, tmp_path):
    *parts, end = run(job)
    assert end == {"parts": 3}
    assert [part["name"] for part in parts] == sorted(path.name for path in (tmp_path / "out").iterdir())
    write_file(predict(str(photos)), Classifier().labels, "parquet", tmp_path / "alone.parquet")
    assert parquet.read_table(tmp_path / "out").equals(parquet.read_table(tmp_path / "alone.parquet"))
    assert sum(part["counts"]["failed"] for part in parts) == 1


def test_a_part_that_is_there_is_counted_and_not_predicted_again(job, tmp_path):
    before = run(job)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    *after, _ = run(job)
    assert [part["counts"] for part in after] == [part["counts"] for part in before[:-1]]
    assert all(part["done"] for part in after)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times
    assert count_part(tmp_path / "out" / "none.parquet") is None


def test_parts_in_another_folder_of_the_caller_are_found_by_relative_paths(job, photos, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    answers = run(job._replace(source=["photos"], folder=str(photos.parent), out=str(tmp_path / "out")))
    assert answers[-1] == {"parts": 3}
    rows = parquet.read_table(tmp_path / "out" / answers[0]["name"])
    assert rows["source"][0].as_py() == "photos/0.png"


def test_a_batch_that_memory_does_not_suffice_for_is_halved_and_the_worker_goes_on(job, monkeypatch, tmp_path):
    sizes = []

    def starving(items, classifier, detector, batch_size, threads, **options):
        sizes.append((batch_size, threads))
        for row in predict(items, classifier, detector, batch_size=batch_size, threads=threads, **options):
            if batch_size > 2 and row.face == 0:
                raise MemoryError
            yield row

    monkeypatch.setattr(worker, "predict", starving)
    first, second, third, _ = run(job)
    assert sizes == [(8, 2), (4, 1), (2, 1), (2, 1), (2, 1)]
    assert first["notes"] == [f"a worker is out of memory at part 0; going on with a batch of {size}" for size in (4, 2)]
    assert second["notes"] == third["notes"] == []
    assert sum(part["counts"]["images"] for part in (first, second, third)) == 12
    assert not list((tmp_path / "out").glob(".*"))


def test_rows_that_say_so_halve_the_batch_too_and_stay_if_one_image_is_too_large(job, monkeypatch):
    class Starving:
        framing = None

        def detect(self, image):
            raise MemoryError

    monkeypatch.setattr(worker, "open_detector", lambda *_: Starving())
    *parts, _ = run(job._replace(batch_size=2, threads=1))
    assert [part["notes"] for part in parts] == [["a worker is out of memory at part 0; going on with a batch of 1"], [], []]
    assert [part["counts"]["images"] for part in parts] == [5, 5, 2]
    assert sum(part["counts"]["failed"] for part in parts) == 12


def test_without_memory_for_a_batch_of_one_the_job_ends_with_a_sentence(job, monkeypatch, tmp_path):
    def starving(*_, **__):
        raise MemoryError
        yield

    monkeypatch.setattr(worker, "predict", starving)
    first = run(job._replace(batch_size=1, threads=1))[0]
    assert first == {"problem": "A worker is out of memory at part 0, with a batch of 1; give the workers more memory."}
    assert not list((tmp_path / "out").iterdir())


def test_a_worker_in_place_of_a_killed_one_halves_the_batch(job, tmp_path):
    number, items = 0, next(list_parts(None, job))["items"][0]
    tries = tmp_path / "out" / f".{part_name(number, items).removesuffix('.parquet')}.tries"
    tries.write_bytes(b"xx")
    answer = PartPredictor(job).answer(number, items)
    assert answer["notes"] == [f"a worker was killed at part 0; going on with a batch of {size}" for size in (4, 2)]
    assert not tries.exists()
    tries.write_bytes(b"x" * MOST_KILLS)
    (tmp_path / "out" / answer["name"]).unlink()
    first, last = (json.loads(items)[place][1] for place in (0, -1))
    assert (
        PartPredictor(job)
        .answer(number, items)["problem"]
        .startswith(f"8 workers were killed while they read {first!r} to {last!r};")
    )
    tries.write_bytes(b"x")
    remove_tries(tmp_path / "out")
    assert not tries.exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": "0.0.1"}, r"^The machine \S+ has mien \S+, not 0\.0\.1; install the same on all machines\.$"),
        ({"model_sha256": "0"}, r"^The machine \S+ has another model 'mien-s'; copy the same file to all machines\.$"),
        ({"model": "/nothing/model.onnx"}, "There is no model file '/nothing/model.onnx'"),
        ({"folder": "/nothing"}, r"^The machine \S+ has no folder '/nothing'; give absolute paths"),
        ({"out": "/proc/nothing"}, "^A part cannot be written to '/proc/nothing'"),
    ],
)
def test_a_machine_that_differs_says_so(job, change, sentence):
    answers = run(job._replace(**change))
    assert re.search(sentence, answers[0]["problem"])


def test_options_change_the_rows(job, photos, tmp_path):
    options = {"faces": True, "labels": {"disgust": None}, "head": "label", "prior": 0.5, "threshold": 0.9}
    run(job._replace(options=options))
    rows = parquet.read_table(tmp_path / "out").to_pylist()
    expected = list(predict(str(photos), **options))
    assert [row["label"] for row in rows] == [row.label for row in expected]
    assert "disgust" not in rows[0]
    found = [row["happy"] for row in rows if row["happy"] is not None]
    np.testing.assert_allclose(found, [row.shares["happy"] for row in expected if row.shares], atol=2e-6)
