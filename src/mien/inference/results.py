"""Predictions as Python users handle them: a lazy sequence, and a data frame."""

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, overload

from mien.errors import MienError, load_table
from mien.inference.output import column_values, columns
from mien.inference.prediction import Prediction

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore]

PANDAS: dict[str, str] = load_table(__file__, "output")["pandas"]  # types by those of the columns
SHOWN = 20  # rows of the table in a notebook


def to_dataframe(predictions: Iterable[Prediction]) -> "pandas.DataFrame":
    """Make a pandas DataFrame of predictions, one row for each, with the columns of the CSV.

    The types do not depend on the rows: string, Int64 and boolean with pandas.NA for missing values, float64 with NaN.

    Args:
        predictions: the result of `mien.predict`.

    Raises:
        MienError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MienError("A DataFrame needs pandas, which is not installed; run: pip install pandas") from None
    rows = list(predictions)
    found = columns(rows[0].labels if rows else ())
    frame = pandas.DataFrame(map(column_values, rows), columns=[name for name, _ in found])
    return frame.astype({name: PANDAS[kind] for name, kind in found})


class Predictions(Iterator[Prediction]):
    """The result of `mien.predict`: predictions that are computed when they are asked for.

    Iteration keeps none of them, so memory does not grow with the input. An index, a slice, `to_df` or a notebook's display
    computes and keeps what it needs, and iteration then starts with the first one again. `len` is known of a single photo, and
    once all are computed and kept.

    Raises:
        MienError: if predictions are asked for by index that were iterated before, and so are not kept.
    """

    def __init__(self, rows: Generator[Prediction, None, None], is_photo: bool = False) -> None:
        self._rows, self._is_photo = rows, is_photo
        self._kept: list[Prediction] | None = None
        self._place, self._is_complete = 0, False

    def __iter__(self) -> "Predictions":
        self._place = 0 if self._kept is not None else self._place
        return self

    def __next__(self) -> Prediction:
        self._place += 1
        if self._kept is None:
            return next(self._rows)
        if len(self._keep(self._place)) < self._place:
            raise StopIteration
        return self._kept[self._place - 1]

    def _keep(self, count: int = sys.maxsize) -> list[Prediction]:
        if self._kept is None and self._place:
            raise MienError("These predictions were iterated already and not kept; begin with rows = list(mien.predict(...)).")
        self._kept = [] if self._kept is None else self._kept
        self._kept += islice(self._rows, max(0, count - len(self._kept)))
        self._is_complete |= len(self._kept) < count
        return self._kept

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        return self._keep(index + 1 if isinstance(index, int) and index >= 0 else sys.maxsize)[index]

    def __len__(self) -> int:
        if self._is_photo:
            self._keep()
        if not self._is_complete:
            raise TypeError("The number of predictions is not known before all are computed; predictions[:] computes them.")
        return len(self._kept or ())

    def __bool__(self) -> bool:  # without asking for the number
        return True

    def __repr__(self) -> str:
        return f"Predictions({len(self._kept or ())} kept, {'all' if self._is_complete else 'not all'} computed)"

    def _repr_html_(self) -> str | None:
        with suppress(MienError):  # without pandas, notebooks show the repr
            return str(to_dataframe(self._keep(SHOWN)[:SHOWN])._repr_html_())
        return None

    def to_df(self) -> "pandas.DataFrame":
        """Compute all predictions, and make a pandas DataFrame as `mien.to_dataframe` does; MienError without pandas."""
        return to_dataframe(self._keep())

    def close(self) -> None:
        """End the threads that compute predictions."""
        self._rows.close()
