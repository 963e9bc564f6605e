"""Predictions as rows of a data frame: the same columns in CSV, Parquet and pandas."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import MienError
from mien.inference.prediction import Prediction
from mien.labels import LabelSet

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore]

FIRST = {
    "source": "string",
    "frame": "int64",
    "time": "float64",
    "face": "int64",
    "track": "int64",
    "x1": "float64",
    "y1": "float64",
    "x2": "float64",
    "y2": "float64",
    "score": "float64",
    "label": "string",
    "confidence": "float64",
    "unsure": "bool",
}
"""The columns before the probabilities, with their types in Parquet."""

LAST = {"no_face": "bool", "error": "string", "note": "string"}
"""The columns behind the probabilities."""

PANDAS = {"string": "string", "int64": "Int64", "float64": "float64", "bool": "boolean"}
"""Their types in pandas, which can all be nothing."""

ROW_GROUP = 8192
"""Rows of a Parquet file that are held in memory before they are written."""


def column_names(labels: LabelSet) -> list[str]:
    """Name the columns: what and where, a probability for each label, and what there was instead of an answer."""
    return [*FIRST, *labels, *LAST]


def column_values(prediction: Prediction) -> list[Any]:
    """Give a prediction's values in the order of the columns, rounded as in `Prediction.to_dict`; None where there is none."""
    row = prediction.to_dict()
    probabilities = row.get("probabilities", {})
    return [
        encodable(row["source"]),
        *(row.get(key) for key in ("frame", "time", "face", "track")),
        *row.get("box", [None] * 4),
        *(row.get(key) for key in ("score", "label", "confidence", "unsure")),
        *(probabilities.get(name) for name in prediction.labels),
        prediction.no_face,
        encodable(row["error"]) if "error" in row else None,
        row.get("note"),
    ]


def encodable(text: str) -> str:
    """Replace what no file can hold as UTF-8: file names may be any bytes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def to_dataframe(predictions: Iterable[Prediction]) -> "pandas.DataFrame":
    """Make a pandas DataFrame of predictions, a row for each, with the columns of the CSV.

    Types are the same whatever the rows hold: string, Int64 and boolean with pandas.NA for nothing, float64 with NaN.

    Args:
        predictions: what `mien.predict` gives.

    Raises:
        MienError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MienError("A DataFrame needs pandas, which is not installed; run: pip install pandas") from None
    names: list[str] = []
    rows = []
    for prediction in predictions:
        names = names or column_names(prediction.labels)
        rows.append(column_values(prediction))
    kinds = {name: PANDAS[kind] for name, kind in (FIRST | LAST).items()}
    return pandas.DataFrame(rows, columns=names or [*FIRST, *LAST]).astype(kinds)


def check_parquet() -> None:
    """Make sure that Parquet can be written.

    Raises:
        MienError: if pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - it may be missing
    except ImportError:
        raise MienError("Parquet needs pyarrow, which is not installed; run: pip install 'mien[evaluate]'") from None


def write_parquet(predictions: Iterable[Prediction], labels: LabelSet, path: Path) -> None:
    """Write a Parquet file, in row groups, so that memory does not grow with the number of rows.

    Args:
        predictions: what `predict` gives.
        labels: their labels.
        path: the file; one that is there is replaced.

    Raises:
        MienError: if pyarrow is not installed.
    """
    check_parquet()
    import pyarrow
    import pyarrow.parquet

    kinds = [*FIRST.values(), *["float32"] * len(labels), *LAST.values()]
    schema = pyarrow.schema(
        [pyarrow.field(name, pyarrow.type_for_alias(kind)) for name, kind in zip(column_names(labels), kinds, strict=True)]
    )
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        rows = map(column_values, predictions)
        while group := list(islice(rows, ROW_GROUP)):
            columns = [
                pyarrow.array(column, field.type) for column, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))
