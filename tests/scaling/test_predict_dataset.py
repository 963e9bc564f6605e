"""`mien predict --engine ray` and `mien.scaling.predict_dataset`, with Ray on this machine."""

import json
import os
import signal
import time
from pathlib import Path

import pyarrow
import pytest
from pyarrow import fs, parquet

from mien.cli import main
from mien.scaling import RECORD, cluster


@pytest.fixture(scope="module")
def rows(photos, tmp_path_factory):
    """What `mien predict` writes without Ray."""
    out = tmp_path_factory.mktemp("alone") / "alone.parquet"
    assert main(["predict", str(photos), "--out", str(out)]) == 1
    return parquet.read_table(out)


def wait_for(condition, child, seconds=120):
    until = time.monotonic() + seconds
    while not (found := condition()) and child.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    return found


@pytest.mark.slow
def test_the_rows_are_those_without_ray(photos, rows, mien):
    status, printed, said = mien.run("predict", photos, "--engine", "ray", "--out", "out", "--part_size", "5")
    assert (status, printed) == (1, ""), said
    assert said == "mien: 12 images: 14 faces (9 unsure), 1 without a face, 1 failed\n"
    assert parquet.read_table(mien.folder / "out").equals(rows)
    assert mien.left() == {}, "Ray's processes end with the job"


@pytest.mark.slow
def test_an_interrupted_job_goes_on(photos, rows, mien, capsys):
    out = mien.folder / "out"
    words = ["predict", photos, "--engine", "ray", "--out", out, "--part_size", "4", "--workers", "1"]
    child = mien.start(*words)
    done = wait_for(lambda: list(out.glob("part-*")) if out.exists() else [], child)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=120)
    assert "(the same command with --resume continues)" in said, said
    assert child.returncode == 130
    times = {path: path.stat().st_mtime_ns for path in done}
    assert mien.left() == {}, "Ray's processes end with the job"

    assert main([*map(str, words)]) == 2
    assert "holds an unfinished run; add --resume" in capsys.readouterr().err
    assert main([*map(str, words), "--resume", "--threshold", "0.5"]) == 2
    assert "has threshold 0.6, not 0.5; use the same options" in capsys.readouterr().err

    status, printed, said = mien.run(*words, "--resume")
    assert (status, printed) == (1, ""), said
    assert said == "mien: 12 images: 14 faces (9 unsure), 1 without a face, 1 failed\n"
    assert parquet.read_table(out).equals(rows)
    assert {path: path.stat().st_mtime_ns for path in done} == times
    assert sorted(path.name.split("-")[1] for path in out.iterdir() if path.name != RECORD) == [
        "00000000",
        "00000001",
        "00000002",
    ]
    assert json.loads((out / RECORD).read_text())["counts"]["faces"] == 14
    assert mien.left() == {}

    assert main([*map(str, words), "--resume"]) == 1
    assert "is whole, there is nothing to resume" in capsys.readouterr().err
    assert main([*map(str, words)]) == 2
    assert "holds a whole run of --engine ray" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("photos --format csv --out new", "--engine ray writes Parquet; leave out --format."),
        ("photos --csv-safe --out new", "--csv-safe is not for --engine ray"),
        ("photos", "--engine ray writes a folder; name it with --out."),
        ("photos --out new.csv", "--engine ray writes a folder of Parquet files; leave out .csv from --out new.csv."),
        ("photos --out new --draw drawn", "--engine ray draws no pictures"),
        ("photos --out new --part_size 0", "The number of inputs of a part must be at least 1, not 0."),
        ("photos --out new --workers 0", "The number of workers must be at least 1, not 0."),
        ("photos --out new --threads 0", "The number of threads must be at least 1, not 0."),
        ("photos --out new --smoothing -1", "The smoothing in seconds must be at least 0, not -1"),
        ("nothing --out new", "There is nothing at 'nothing'."),
        ("0 --out new", "'0' is a camera or stream"),
        ("photos --out parts", "'parts' holds parts of another run; choose another --out, or empty it."),
        ("photos --out other", "'other' holds 'letter.txt', which is not of mien predict; choose another --out"),
        ("photos --out other/letter.txt", "'other/letter.txt' is a file; --engine ray writes a folder."),
        ("photos --out photos", "'photos' is one of the inputs; choose another --out."),
        ("photos --out new --model nothing", "There is no model 'nothing'"),
        ("photos --out new --address here", "--address is HOST:PORT of the cluster's head"),
        ("photos --out new --address 127.0.0.1:9", "The cluster at '127.0.0.1:9' does not answer (Connection refused); check"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(words, sentence, photos, mien, monkeypatch, capsys):
    monkeypatch.chdir(mien.folder)
    (mien.folder / "photos").symlink_to(photos)
    (mien.folder / "parts").mkdir()
    (mien.folder / "parts" / "part-00000000-0123456789abcdef.parquet").touch()
    (mien.folder / "other").mkdir()
    (mien.folder / "other" / "letter.txt").touch()
    assert main(["predict", *words.split(), "--engine", "ray"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mien: {sentence}")
    assert not (mien.folder / "new").exists()


def test_without_ray_the_sentence_names_the_extra(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    assert main(["predict", str(photos), "--engine", "ray", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "mien: --engine ray needs Ray, which is not installed; run: pip install 'mien[scale]'\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_worker_costs_its_part_a_retry_and_no_row_is_lost_or_doubled(photos, rows, mien):
    out = mien.folder / "out"
    parquet.write_table(
        pyarrow.table({"path": [str(photos / name) for name in ["0.png", "2.png"] * 30]}), mien.folder / "p.parquet"
    )
    words = ["predict", mien.folder / "p.parquet", "--engine", "ray", "--out", out, "--part_size", "20", "--workers", "1"]
    child, killed = mien.start(*words), []
    for _ in range(2):
        if wait_for(lambda: list(out.glob(".part-*.tries")) if out.exists() else [], child):
            before = set(mien.workers())
            for number in before:
                os.kill(number, signal.SIGKILL)
                killed.append(number)
            wait_for(lambda before=before: set(mien.workers()) - before, child)
    _, said = child.communicate(timeout=300)
    assert child.returncode == 0, said
    assert len(killed) >= 2, said
    assert "a worker was killed at part 0; going on with a batch of 32" in said
    found = parquet.read_table(out).to_pylist()
    first = {row["source"]: row["face"] for row in rows.to_pylist()}
    assert [row["source"] for row in found if row["face"] == 0] == [str(photos / name) for name in ["0.png", "2.png"] * 30]
    assert len(found) == 30 * sum(row["source"] in (str(photos / "0.png"), str(photos / "2.png")) for row in rows.to_pylist())
    assert first
    assert len(list(out.glob("part-*.parquet"))) == 3
    assert not list(out.glob(".part*"))
    assert mien.left() == {}


@pytest.mark.slow
def test_a_bucket_and_a_parquet_of_images_give_the_same_rows(photos, rows, mien, monkeypatch):
    from mien.scaling import predict_dataset

    bucket = fs.SubTreeFileSystem(str(photos.parent), fs.LocalFileSystem())
    data = [{"path": row.as_py(), "bytes": Path(row.as_py()).read_bytes()} for row in rows["source"].unique()]
    parquet.write_table(pyarrow.table({"image": data}), mien.folder / "faces.parquet", row_group_size=5)
    with cluster.connected(None) as ray:
        tally = predict_dataset("photos", mien.folder / "bucket", filesystem=bucket, part_size=5)
        assert dict(tally) == dict(predict_dataset([str(mien.folder / "faces.parquet")], mien.folder / "table", part_size=5))
        assert ray.is_initialized(), "a connection of the caller stays"
    for name in ("bucket", "table"):
        found = parquet.read_table(mien.folder / name)
        assert found.drop_columns(["source", "error"]).equals(rows.drop_columns(["source", "error"]))
        assert [source.rpartition("photos/")[2] for source in found["source"].to_pylist()] == [
            source.rpartition("photos/")[2] for source in rows["source"].to_pylist()
        ]


@pytest.mark.slow
def test_inputs_that_changed_since_an_interruption_give_their_rows_once(photos, mien, tmp_path):
    from mien.scaling import predict_dataset

    (tmp_path / "few").mkdir()
    for name in ("0.png", "2.png", "4.png"):
        (tmp_path / "few" / name).write_bytes((photos / name).read_bytes())
    out = tmp_path / "out"
    with cluster.connected(None):
        predict_dataset(str(tmp_path / "few"), out, part_size=2)
        (out / RECORD).rename(out / "gone")
        log = json.loads((out / "gone").read_text())
        (out / "gone").unlink()
        assert log["machines"] == 1
        for path in out.iterdir():
            path.rename(tmp_path / path.name)
        (tmp_path / "few" / "1.png").write_bytes((photos / "2.png").read_bytes())
        child = mien.start("predict", tmp_path / "few", "--engine", "ray", "--out", out, "--part_size", "2", "--workers", "1")
        wait_for(lambda: (out / f"{RECORD}.part").exists(), child)
        child.kill()
        child.wait()
        for path in tmp_path.glob("part-*"):
            path.rename(out / path.name)
        tally = predict_dataset(str(tmp_path / "few"), out, part_size=2, resume=True)
    assert tally["images"] == 4
    names = parquet.read_table(out)["source"].to_pylist()
    assert sorted(set(names)) == [str(tmp_path / "few" / f"{number}.png") for number in (0, 1, 2, 4)]
    assert len(list(out.glob("part-*"))) == 2
