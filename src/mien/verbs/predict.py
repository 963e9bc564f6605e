"""`mien predict` and `mien explain`; jsonargparse takes their `**options` from `mien.predict` and `mien.explain`."""

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from typing import Any, Literal

from mien.errors import MienError, load_table, printable, progress, say, show
from mien.inference.classifier import DEFAULT_MODEL, Classifier
from mien.inference.explanation import MOST_FACES, explain as explain_faces
from mien.inference.output import SAFE_CSV, ResumeLog, Tally, check_out, check_parquet, choose_format, log_path, write
from mien.inference.pipeline import predict as classify_faces
from mien.inference.prediction import Prediction
from mien.inference.prefetch import deferred_interrupts
from mien.inference.sources import camera_number, check_names, count_images, is_stream, listed, read_paths
from mien.labels import LabelSet
from mien.scaling import PART_SIZE, predict_on_ray, run_settings

MISTAKES = load_table(__file__)


def predict(
    source: list[str],
    model: str = DEFAULT_MODEL,
    detector: str = "auto",
    format: str | None = None,
    out: str | None = None,
    resume: bool = False,
    null: bool = False,
    fetch: bool = False,
    csv_safe: bool = False,
    quiet: bool = False,
    engine: Literal["threads", "ray"] = "threads",
    address: str | None = None,
    workers: int | None = None,
    part_size: int = PART_SIZE,
    **options: Any,
) -> int:
    """Find the faces of images and videos, and classify their expressions.

    The exit status is 0, 1 if some inputs failed, 2 if all did.

    Args:
        source: photos, folders, patterns, zips, videos, numbers of cameras, addresses of streams or (with --fetch) photos,
            data URIs; - reads paths on stdin.
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name.
        detector: auto, yunet, none, or a YuNet .onnx file.
        format: table, json, jsonl, csv or parquet; if not given, by the ending of --out, else table.
        out: a file to write instead of standard output.
        resume: continue a run into --out that was stopped.
        null: paths on stdin end with a zero byte, as those of `find -print0`.
        fetch: download the photos whose http or https address is given.
        csv_safe: in CSV, an apostrophe before text that a spreadsheet would run as a formula, such as a file name with =.
        quiet: print no progress and no counts to stderr.
        engine: threads of this process, or ray for Ray Data: reads Parquet and buckets too, on many machines, into a folder.
        address: HOST:PORT of a Ray cluster's head, or auto; by default Ray is started on this machine.
        workers: processes of --engine ray; by default as many as the CPUs allow.
        part_size: most inputs of a Parquet file of --engine ray.
        **options: see `mien.predict`.
    """
    if engine == "ray":
        return _conclude(predict_on_ray(**locals()), quiet)
    path = None if out is None else check_out(out, source, model, detector)
    form = choose_format(format, path)
    if form == "parquet":
        check_parquet()
    wrong = {"csv": csv_safe and form != "csv", "null": null and "-" not in source, "out": resume and path is None}
    wrong |= {"draw": resume and options.get("draw") is not None}
    wrong["ray"] = (address, workers, part_size) != (None, None, PART_SIZE)
    for mistake in filter(wrong.get, wrong):
        raise MienError(MISTAKES[mistake].format(form))
    form = SAFE_CSV if csv_safe else form
    if "-" not in source:
        check_names(source, fetch)
    opened = Classifier(model, threads=1, head=options.get("head"))
    labels, _ = opened.labels.merge(options.get("labels") or {})
    items: Any = source
    if "-" in source:
        if sys.stdin is None:
            raise MienError("Standard input is closed, so no paths can be read from it; leave it open, or name the photos.")
        stream = io.FileIO(0, closefd=False)  # without a buffer: a waiting thread would hold its lock, and Python abort at exit
        items = (path for name in source for path in (read_paths(stream, null) if name == "-" else [name]))
    log = None
    if path is not None:
        if resume and path.exists() and not log_path(path).exists():
            say(f"mien: {str(path)!r} is whole, there is nothing to resume; leave out --resume to replace it")
            return 0
        log = ResumeLog(path, labels, run_settings(opened, model, detector, fetch, options), source, resume)
        if resume:
            items = listed(items, options.get("every", 1), log.skip, fetch)
    rows = classify_faces(items, opened, detector, fetch=fetch, **options)
    with deferred_interrupts(), closing(rows), progress("images", quiet=quiet or (log is None and sys.stdout.isatty())) as bar:
        if not bar.disable and "-" not in source and not resume:
            counts = [count_images(name, options.get("every", 1)) for name in source]
            bar.total = sum(counts) if all(counts) else None
        found = _counted(rows, bar, any(camera_number(name) is not None or is_stream(name) for name in source))
        if log is None:
            tally = _to_standard_output(found, form, labels)
        else:
            log.path.parent.mkdir(parents=True, exist_ok=True)
            log.write(prediction.to_dict() for prediction in found)
    if log is not None:
        tally = log.finish(form)
    return _conclude(tally, quiet)


def _counted(predictions: Iterator[Prediction], bar: Any, is_live: bool) -> Iterator[Prediction]:
    with suppress(KeyboardInterrupt) if is_live else nullcontext():  # which ends a camera or stream
        for prediction in predictions:
            bar.update(not prediction.face)  # an image's first face is number 0
            yield prediction


def _conclude(tally: Tally, quiet: bool) -> int:
    """Print the counts, and return the exit status."""
    say(f"mien: {tally}", quiet)
    # if no input at all could be read, the user named the wrong thing
    return 0 if not tally["failed"] else 1 if tally["faces"] or tally["without_face"] else 2


def _to_standard_output(predictions: Iterator[Prediction], format: str, labels: LabelSet) -> Tally:
    if format != "parquet":
        if format != "table" and isinstance(sys.stdout, io.TextIOWrapper):  # the same bytes as in a file
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        return write(predictions, labels, format, sys.stdout)
    if sys.stdout.isatty():
        raise MienError("Parquet cannot be read on a terminal; name a file with --out.")
    with tempfile.TemporaryFile() as file:  # Parquet cannot be written to a pipe row by row
        tally = write(predictions, labels, format, file)
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    return tally


def explain(
    source: list[str], out: str, model: str = DEFAULT_MODEL, detector: str = "auto", fetch: bool = False, **options: Any
) -> int:
    """Find the faces of images, and show which parts of each decided the answer.

    The exit status is 0, 1 if some images failed, 2 if there is no face.

    Args:
        source: photos, folders, patterns or (with --fetch) addresses of photos; the first 32 faces are explained.
        out: the picture to write: .png, .jpg or .webp.
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name.
        detector: auto, yunet, none, or a YuNet .onnx file.
        fetch: download the photos whose http or https address is given.
        **options: see `mien.explain`.
    """
    check_names(source, fetch)
    explained = explain_faces(source, model=model, detector=detector, out=out, fetch=fetch, **options)
    shown = []
    for each in explained:
        found, label = each.prediction, each.label or ""
        if each.heat is None:
            say(f"mien: {found.error or f'{found.source}: no face found'}")
            continue
        time = "" if found.time is None else f" at {found.time:.2f} s"
        answer = "" if label == found.label else f"  (the answer is {found.label} {found.confidence:.0%})"
        region = f"most of it from the {each.region}; {each.hidden:.0%} without" if each.region else "no part supports it"
        line = f"{found.source}{time}  face {found.face}  {label} {found.shares[label]:.0%}{answer}  {region}"
        shown.append(printable(line))
    if not shown:
        say("mien: there is no face to explain, and no picture was written")
        return 2
    show("\n".join(shown))
    if len(explained) == MOST_FACES:
        say(f"mien: only the first {MOST_FACES} faces are explained")
    say(f"picture {out}")
    return 1 if any(each.prediction.error for each in explained) else 0
