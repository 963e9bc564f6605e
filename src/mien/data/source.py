"""Where labelled faces come from, as a user specifies it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mien.errors import MienError, shortened

FormatName = Literal["auto", "pack", "fer2013-csv", "parquet", "manifest", "folders"]  # `reading.FORMATS` has their readers
VotesAs = Literal["distribution", "majority", "beside"]  # how FER+ votes are used; see `DataSource.votes_as`


@dataclass(frozen=True)
class DataSource:
    """Labelled faces on disk."""

    path: Path
    """fer2013.csv (also zipped or gzipped), a folder or zip with one folder per class (with or without train, validation
    and test), a manifest (CSV or Parquet), a folder with fer2013.csv or Parquet files, or a pack."""

    format: FormatName = "auto"
    """The format of the path, where it is not detected correctly."""

    votes: Path | None = None
    """FER+ crowd votes for FER-2013 (fer2013new.csv); they replace its labels or are used in addition to them."""

    votes_as: VotesAs = "distribution"
    """Use the share of the votes for every label (distribution), only the label with more than half of them (majority), or
    keep FER-2013's labels and add the shares to them, for networks that learn both (beside)."""

    detector: str = "none"
    """Find the largest face of each photo and use its crop, framed as for predictions: auto, yunet or a YuNet .onnx file; none,
    if the images are cropped faces."""

    skip_bad: bool = False
    """Skip images and rows that cannot be read."""

    drop: Path | None = None
    """A CSV file whose column id names rows to leave out, such as the list that `mien audit --write` makes."""

    columns: list[str] | None = None
    """Further columns of a manifest to read, such as age_group; `mien evaluate --by` adds those it names."""

    group: str | None = None
    """Which rows stay together in every split, such as those of a person or a clip: a column of a manifest; re: and a regular
    expression, whose (groups) name it in file names, or in paths if it has a slash; or auto, faces that are nearly alike."""

    def __post_init__(self) -> None:
        # in Python a path is often a string; as a path an empty one is the current folder
        if not str(self.path):
            raise MienError("The data have an empty path; name a file or a folder.")
        if self.votes is None and self.votes_as != "distribution":
            raise MienError(f"--data.votes_as {self.votes_as} needs the votes: add --data.votes fer2013new.csv.")
        if self.group is not None and (not isinstance(self.group, str) or not self.group.strip()):
            raise MienError(f"--data.group {shortened(self.group, form=repr)} names no groups; give a column, re:... or auto.")
        for name in ("path", "votes", "drop"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(value))


def as_source(data: DataSource | str | Path) -> DataSource:
    """Convert a plain path to a `DataSource`."""
    return data if isinstance(data, DataSource) else DataSource(data)  # type: ignore[arg-type]  # a string becomes a path
