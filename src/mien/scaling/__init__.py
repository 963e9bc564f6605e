"""Scaling: prediction on many machines by Ray Data, into a folder of Parquet files."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mien import __version__
from mien.errors import MienError, check_number, say
from mien.files import check_place, sweep, write_whole
from mien.inference.classifier import DEFAULT_MODEL, Classifier
from mien.inference.detection import detector_file
from mien.inference.model_file import sha256
from mien.inference.output import SUFFIXES, ResumeLog, Tally, log_path
from mien.inference.pipeline import predict
from mien.inputs import read_json
from mien.labels import LabelSet

# options that do not change the rows, so that a run may be resumed with others; the log has all others, and names of inputs
NOT_LOGGED = (
    *("source", "out", "format", "resume", "null", "batch_size", "threads", "font", "draw", "csv_safe", "quiet"),
    *("engine", "address", "workers", "part_size"),  # `predict_dataset` logs part_size
)
PART = re.compile(r"part-\d{8}-[0-9a-f]{16}\.parquet")  # names of parts
RECORD = "_run.json"  # of a whole run; readers of Parquet folders skip names with _
PART_SIZE = 1000  # inputs of a part: 20 to 40 seconds of one core, which a killed worker costs
_KEYS = {"made_by": "mien predict --engine ray", "format": 1}


def predict_dataset(
    source: str | Sequence[str],
    out: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    detector: str = "auto",
    filesystem: Any = None,
    address: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    part_size: int = PART_SIZE,
    batch_size: int = 64,
    resume: bool = False,
    fetch: bool = False,
    **options: Any,
) -> Tally:
    """Predict the expressions of faces by Ray Data, on this machine or a cluster, into a folder of Parquet files.

    The rows are those of `mien.predict`, and those of all files in the order of their names have its order. The inputs are
    listed on demand and divided into parts, and each part becomes one file, which a worker renames to its name when it is
    whole. The name has a hash of the part's inputs, so a part that is predicted again, because its worker was killed, replaces
    itself: no row is lost or doubled. A bad image is a row with an error.

    Args:
        source: folders, patterns, photos, videos and zips; Parquet files with the bytes or the paths of images; or folders and
            files of any file system of pyarrow, such as s3://bucket/folder.
        out: the folder to write, which all machines share.
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name; the same on all machines.
        detector: auto, yunet, none, or a YuNet .onnx file.
        filesystem: a `pyarrow.fs.FileSystem` in which all of the source is, instead of those of its addresses.
        address: HOST:PORT of a cluster's head, or auto for the cluster of this machine; by default Ray is started here, for
            this process and on the loopback address only.
        workers: processes that predict, each with the model open; by default as many as the cluster's CPUs allow.
        threads: CPU threads of each worker.
        part_size: most inputs of a part.
        batch_size: number of faces classified together.
        resume: continue the run in `out` that was interrupted.
        fetch: download the photos whose http or https address is given.
        **options: see `mien.predict`; not `draw` and `font`.

    Returns:
        How many images, faces and failures the folder has in all.

    Raises:
        MienError: if Ray is not installed, the source cannot be read, the folder has another run, the cluster does not answer
            or goes away, or as `mien.predict` does.
    """
    from mien.scaling import cluster
    from mien.scaling.parts import Files
    from mien.scaling.worker import Job, remove_tries

    cluster.import_ray(address is None)
    names = [source] if isinstance(source, str) else list(source)
    for name, value in (
        ("The number of inputs of a part", part_size),
        ("The number of workers", 1 if workers is None else workers),
        ("The number of threads", threads),
    ):
        check_number(name, value, 1)
    if {"draw", "font"}.intersection(options):
        raise MienError("--engine ray draws no pictures; leave out --draw and --font, or --engine ray.")
    opened = Classifier(model, threads=1)
    predict([], opened, detector, batch_size=batch_size, threads=threads, fetch=fetch, **options).close()  # checks the options
    files, folder = Files(filesystem), check_place(out, names)
    files.check(names, fetch)
    settings = run_settings(opened, str(model), detector, fetch, options) | {"part_size": part_size}
    log = _open_log(folder, opened.labels.merge(options.get("labels") or {})[0], settings, names, resume)
    if log is None:
        say(f"mien: {str(out)!r} is whole, there is nothing to resume; choose another --out to predict again")
        return Tally(read_json(folder / RECORD, f"the {RECORD} of {out}")["counts"])
    told = (names, filesystem, str(Path.cwd()), str(out), str(model), sha256(opened.path), __version__, detector)
    job = Job(*told, {**options, "fetch": fetch}, batch_size, threads, part_size)
    with cluster.connected(address) as ray:
        folder.mkdir(parents=True, exist_ok=True)
        remove_tries(folder)
        log.write(())
        whole = _Whole(str(out))
        for answer in cluster.answers(ray, cluster.dataset(ray, job, workers, threads)):
            whole.add(answer)
    tally = whole.check(folder)
    record = {**_KEYS, "mien": __version__, "source": names, "settings": settings, "counts": tally}
    record |= {"parts": len(whole.names), "machines": len(whole.nodes)}
    write_whole(folder / RECORD, lambda path: path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8"))
    log.path.unlink()
    return tally


def _open_log(folder: Path, labels: LabelSet, settings: dict[str, Any], names: list[str], resume: bool) -> ResumeLog | None:
    """Open the log of a run; None if it is whole, a MienError if the folder has another run or anything else."""
    record = folder / RECORD
    held = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        raise MienError(f"{str(folder)!r} is a file; --engine ray writes a folder.")
    if record.exists() and not log_path(record).exists():
        if resume:
            return None
        raise MienError(f"{str(folder)!r} holds a whole run of --engine ray; choose another --out, or remove that folder.")
    if held and not log_path(record).exists():
        what = "parts of another run" if any(map(PART.fullmatch, held)) else f"{held[0]!r}, which is not of mien predict"
        raise MienError(f"{str(folder)!r} holds {what}; choose another --out, or empty it.")
    return ResumeLog(record, labels, settings, names, resume)


class _Whole:
    """Gathers the answers of the workers, and finds out whether every part was written, once."""

    def __init__(self, out: str) -> None:
        self.names: dict[int, str] = {}
        self._tally, self._parts, self._out = Tally(), -1, out
        self._told: set[str] = set()
        self.nodes: set[str] = set()

    def add(self, answer: dict[str, Any]) -> None:
        """Count a part, and print its notes; a MienError if it says that the job cannot go on."""
        if problem := answer.get("problem"):
            raise MienError(problem)
        if "parts" in answer:
            self._parts = answer["parts"]
            return
        self.names[int(answer["name"].split("-")[1])] = answer["name"]
        self._tally.update(answer["counts"])
        self.nodes.add(answer["node"])
        for note in answer.get("notes") or ():
            say(f"mien: {note}", note in self._told)
            self._told.add(note)
        if sys.stderr and sys.stderr.isatty():
            print(f"\r{len(self.names):,} parts, {self._tally['images']:,} images", end="", file=sys.stderr, flush=True)

    def check(self, folder: Path) -> Tally:
        """Check that the folder has every part, and remove those whose inputs have changed since an interruption."""
        if sys.stderr and sys.stderr.isatty():
            print(file=sys.stderr)
        names = set(self.names.values())
        there = {path.name for path in folder.iterdir() if PART.fullmatch(path.name)}
        if self._parts != len(self.names) or names - there:
            lost = sorted(names - there)[:1] or [f"{self._parts - len(self.names):,} parts"]
            raise MienError(f"{lost[0]} is missing in {self._out!r}; do all machines share it? Then --resume continues.")
        for name in there - names:
            (folder / name).unlink()
        if others := len(there - names):
            say(f"mien: the inputs have changed since that run began, and {others:,} parts of before were replaced")
        sweep(folder)
        return self._tally


def run_settings(opened: Classifier, model: str, detector: str, fetch: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the rows of a run, with threads or with Ray, for the log by which it is resumed."""
    file = detector_file("none" if options.get("faces") else detector)
    settings = {name: value for name, value in options.items() if name not in NOT_LOGGED} | {"fetch": fetch}
    settings |= {"model": model, "model_sha256": sha256(opened.path), "mien": __version__}
    return settings | {"detector": file.name if file else "none", "detector_sha256": file and sha256(file)}


def predict_on_ray(source: list[str], out: str | None, options: dict[str, Any], **flags: Any) -> Tally:
    """Run `mien predict --engine ray`; the arguments are those of the verb."""
    for name in ("null", "csv_safe", "engine"):
        if flags.pop(name) is True:
            raise MienError(f"--{name.replace('_', '-')} is not for --engine ray, which writes Parquet.")
    del flags["quiet"]  # which is for the counts at the end
    if flags.pop("format") not in (None, "parquet"):
        raise MienError("--engine ray writes Parquet; leave out --format.")
    if out is None:
        raise MienError("--engine ray writes a folder; name it with --out.")
    suffix = Path(out).suffix.lower()
    if suffix and SUFFIXES.get(suffix, "parquet") != "parquet" and not Path(out).exists():
        raise MienError(f"--engine ray writes a folder of Parquet files; leave out {suffix} from --out {out}.")
    options = {name: value for name, value in options.items() if name not in ("draw", "font") or value is not None}
    threads = 1 if options.get("threads") is None else options["threads"]
    return predict_dataset(source, out, **{**options, **flags, "threads": threads})
