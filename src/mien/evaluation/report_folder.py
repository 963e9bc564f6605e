"""A report's folder, written whole or not at all, and never over anything but an earlier report."""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mien.errors import MienError
from mien.evaluation.record import read_record


@contextmanager
def whole_folder(
    out: Path, record: str = "metrics.json", read: Callable[[Path], dict[str, Any]] = read_record
) -> Iterator[Path]:
    """Give an empty folder next to `out` to write into; it takes the place of `out` when the block ends well.

    An earlier report in `out` is replaced; if the block fails, `out` stays as it was and nothing is left beside it.

    Args:
        out: where the report is to be.
        record: the file by which a report of this kind is known, and which names all its files.
        read: reads that file, and raises MienError where it is not ours.

    Raises:
        MienError: if `out` holds anything but a report of ours, or cannot be written.
    """
    check_replaceable(out, record, read)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise _cannot_write(out, error) from error
    try:
        whole = scratch / "new"  # mkdtemp's own folder is closed to others; this one has the usual rights
        whole.mkdir()
        yield whole
        if out.exists():
            out.rename(scratch / "old")
        try:
            whole.rename(out)
        except BaseException:  # Ctrl-C too: the earlier report must not go with the scratch folder
            if (scratch / "old").exists():
                (scratch / "old").rename(out)
            raise
    except OSError as error:
        raise _cannot_write(out, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_replaceable(out: Path, record: str = "metrics.json", read: Callable[[Path], dict[str, Any]] = read_record) -> None:
    """Make sure that a report may be written there, as `whole_folder` does, before the work for it begins.

    Raises:
        MienError: if `out` holds anything but a report of ours.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise MienError(f"{out} is a file; give a folder for the report.")
    present = {path.name for path in out.iterdir()}
    if not present:
        return
    if record not in present:
        raise MienError(f"{str(out)!r} is there and is not a report of mien; choose another folder, or empty it.")
    if foreign := sorted(present.difference(read(out / record)["files"])):
        raise MienError(
            f"{out} holds {foreign[0]!r}, which is not part of the report in it; move it, or choose another folder."
        )


def _cannot_write(out: Path, error: OSError) -> MienError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason, advice = "the disk is full, or a limit on files is reached", "Make room there, or choose another --out"
    else:
        reason, advice = error.strerror or str(error), "Choose another --out, or allow yourself to write there"
    return MienError(f"Cannot write the report to {out}: {reason}. {advice}.")
