import sys

import numpy as np
import pytest

import mien
from mien.cli import main
from mien.errors import MienError
from mien.inference import output
from mien.inference.output import write_parquet
from mien.inference.prediction import Prediction, columns, to_dataframe
from mien.labels import FER2013

COLUMNS = [name for name, _ in columns(FER2013)]
PROBABILITIES = np.array([0.05, 0, 0.1, 0.5, 0.05, 0.2, 0.1], np.float32)
POINTS = np.arange(10, dtype=np.float32).reshape(5, 2)
ROWS = [
    Prediction("a.png", FER2013, 0, (1, 2, 30, 40), 0.875, PROBABILITIES, threshold=0.6, landmarks=POINTS, angle=-12.34),
    Prediction("a.mp4", FER2013, frame=3, time=0.12, note="turned"),
    Prediction("bytes \udcff.png", FER2013, error="It is damaged."),
]
EMPTY = dict.fromkeys(COLUMNS)
WANTED = [
    EMPTY
    | {"source": "a.png", "face": 0, "x1": 1, "y1": 2, "x2": 30, "y2": 40, "score": 0.875, "label": "happy"}
    | {"confidence": 0.5, "unsure": True, "no_face": False}
    | dict(zip(FER2013, PROBABILITIES.round(6).tolist(), strict=True))
    | dict(zip(COLUMNS[-11:], [*range(10), -12.3], strict=True)),
    EMPTY | {"source": "a.mp4", "frame": 3, "time": 0.12, "no_face": True, "note": "turned"},
    EMPTY | {"source": r"bytes \udcff.png", "no_face": False, "error": "It is damaged."},
]


def rows_of(table):
    return [{name: pytest.approx(value) if isinstance(value, float) else value for name, value in row.items()} for row in table]


def test_parquet_has_the_columns_with_their_types_in_row_groups(tmp_path, monkeypatch):
    import pyarrow.parquet

    monkeypatch.setattr(output, "ROW_GROUP", 2)
    write_parquet(iter(ROWS), FER2013, tmp_path / "rows.parquet")
    file = pyarrow.parquet.ParquetFile(tmp_path / "rows.parquet")
    assert file.num_row_groups == 2
    assert file.schema_arrow.names == COLUMNS
    kinds = {name: str(file.schema_arrow.field(name).type) for name in ("source", "frame", "x1", "unsure", "happy", "no_face")}
    assert list(kinds.values()) == ["string", "int64", "double", "bool", "float", "bool"]
    assert file.read().to_pylist() == rows_of(WANTED)


def test_parquet_of_nothing_still_has_its_columns(tmp_path):
    import pyarrow.parquet

    write_parquet([], FER2013, tmp_path / "rows.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").column_names == COLUMNS


def test_a_data_frame_gets_the_same_columns():
    pytest.importorskip("pandas")
    frame = mien.to_dataframe(iter(ROWS))
    assert frame.astype(object).where(frame.notna(), None).to_dict("records") == rows_of(WANTED)


def test_a_real_data_frame_can_be_counted():
    pandas = pytest.importorskip("pandas")
    frame = to_dataframe(ROWS)
    assert frame["no_face"].sum() == 1
    assert frame["label"].value_counts().to_dict() == {"happy": 1}
    assert pandas.isna(frame["happy"][1])


def test_the_columns_of_a_data_frame_have_the_same_types_whatever_the_rows():
    pytest.importorskip("pandas")
    whole, faceless, empty = (to_dataframe(rows) for rows in (ROWS, ROWS[1:], []))
    for name, kind in {"face": "Int64", "track": "Int64", "unsure": "boolean", "score": "float64", "error": "string"}.items():
        assert [str(frame.dtypes[name]) for frame in (whole, faceless, empty)] == [kind] * 3
    assert whole["unsure"].sum() == 1


def test_what_is_not_installed_is_said_before_anything_is_done(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MienError, match="pip install pandas"):
        to_dataframe(ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "a.png").write_bytes(b"")
    assert main(["predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "rows.parquet")]) == 2
    assert capsys.readouterr().err == "mien: Parquet needs pyarrow, which is not installed; run: pip install 'mien[evaluate]'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_parquet_goes_into_a_pipe_whole(tmp_path, model, capfdbinary):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "empty.png").write_bytes(b"")
    assert main(["predict", str(tmp_path), "--model", str(model), "--faces", "--format", "parquet"]) == 2
    (row,) = pyarrow.parquet.read_table(pyarrow.BufferReader(capfdbinary.readouterr().out)).to_pylist()
    assert "0 bytes" in row["error"]
