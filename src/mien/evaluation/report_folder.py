"""Report folders: written completely or not at all, and never over anything but an earlier report."""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mien.errors import MienError
from mien.evaluation.record import read_record

Reader = Callable[[Path], dict[str, Any]]


@contextmanager
def whole_folder(out: Path, record: str = "metrics.json", read: Reader = read_record) -> Iterator[Path]:
    """Give an empty folder next to `out` to write into; it replaces `out` when the block succeeds.

    If the block fails, an earlier report in `out` is kept and nothing is left beside it. The file `record` identifies a report
    of this kind and lists all its files; `read` reads it, or raises MienError if mien did not write it.
    """
    check_replaceable(out, record, read)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise _write_error(out, error) from error
    try:
        whole = scratch / "new"  # mkdtemp's own folder is closed to others; this one has the usual permissions
        whole.mkdir()
        yield whole
        if out.exists():
            out.rename(scratch / "old")
        try:
            whole.rename(out)
        except BaseException:  # Ctrl-C too: the earlier report must not be deleted with the scratch folder
            if (scratch / "old").exists():
                (scratch / "old").rename(out)
            raise
    except OSError as error:
        raise _write_error(out, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_replaceable(out: Path, record: str = "metrics.json", read: Reader = read_record) -> None:
    """Check that `out` contains nothing but a report of this kind, before the work for `whole_folder` begins."""
    if out.exists() and not out.is_dir():
        raise MienError(f"{out} is a file; give a folder for the report.")
    present = {path.name for path in out.iterdir()} if out.exists() else set()
    if present and record not in present:
        raise MienError(f"{str(out)!r} exists and is not a report of mien; choose another folder, or empty it.")
    if present and (foreign := sorted(present.difference(read(out / record)["files"]))):
        raise MienError(
            f"{out} holds {foreign[0]!r}, which is not part of the report in it; move it, or choose another folder."
        )


def _write_error(out: Path, error: OSError) -> MienError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason, advice = "the disk is full, or a limit on files is reached", "Free some space, or choose another --out"
    else:
        reason, advice = error.strerror or str(error), "Choose another --out, or change its permissions"
    return MienError(f"Cannot write the report to {out}: {reason}. {advice}.")
