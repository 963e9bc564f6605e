"""Quantizing: a model file in int8, measured beside the original."""

import functools
import json
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.data.faceset import FaceSet
from mien.data.source import DataSource
from mien.errors import MienError
from mien.files import write_whole
from mien.verbs import read_data, require

if TYPE_CHECKING:
    from mien.evaluation.statistics import PairedTest, Proportion
    from mien.inference.classifier import Classifier


TIMED = 64
"""Faces that are timed one by one."""


@dataclass(frozen=True)
class Quantized:
    """A model in int8 beside the one it was made from.

    Attributes:
        out: the new file.
        split: the rows that both were measured on: validation, test or train, by the head that judges labels.
        accuracies: of the original and of the new one.
        paired: whether they differ truly.
        sizes: of the two files, in bytes.
        speed: how many times as many faces a second the new one answers, one at a time on one thread, here and now.
    """

    out: Path
    split: str
    accuracies: "tuple[Proportion, Proportion]"
    paired: "PairedTest"
    sizes: tuple[int, int]
    speed: float

    def table(self) -> str:
        """Write it as text for a terminal."""
        seen = "" if self.split in ("validation", "test") else ", which it may have been trained on"
        part = {"none": "all rows"}.get(self.split, f"{self.split} split")
        lines = [f"{self.paired.rows:,} faces, {part}{seen}"]
        for name, accuracy, size in zip(("as it was", "in int8"), self.accuracies, self.sizes, strict=True):
            interval = f"{accuracy.low:.1%} to {accuracy.high:.1%}"
            lines.append(f"{name:<10} accuracy {accuracy.value:.2%}   95% interval {interval}   {size / 1e6:.2f} MB")
        change = f"{100 * self.paired.difference:+.2f} points ({100 * self.paired.low:+.2f} to {100 * self.paired.high:+.2f})"
        return "\n".join([*lines, f"change     {change}; {self.speed:.1f} times as fast on one thread of this machine"])


def quantize(
    model: str | Path,
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    faces: int = 1024,
    labels: dict[str, list[str]] | None = None,
    quiet: bool = False,
) -> Quantized:
    """Write a model file in int8, a quarter of its size and faster on most CPUs, and measure it beside the original.

    Args:
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name on the Hugging Face hub.
        data: labelled faces: what the ranges of its activations are learned from (training rows where there are some), and
            what both are measured on (validation rows, else test rows, else the same).
        out: the model file to write.
        faces: how many faces to learn the ranges from.
        labels: labels of the data to merge or rename, as for `evaluate`.
        quiet: no progress on stderr.

    Raises:
        MienError: if the model is in int8 already, or the data do not fit it; the sentence says what to do.
    """
    require("train", "onnx", "sklearn", "scipy")
    from mien.evaluation.label_match import fit_to_model, match_labels, with_labels
    from mien.evaluation.statistics import mcnemar, proportion
    from mien.inference.classifier import Classifier
    from mien.training.quantization import quantize as write_int8
    from mien.training.transfer import QUANTIZED

    if faces < 1:
        raise MienError(f"The ranges are learned from at least 1 face, not {faces}.")
    if Path(out).suffix.lower() != ".onnx":
        raise MienError(f"A model file ends in .onnx; name --out so, not {str(out)!r}.")
    original = Classifier(model, head="label", threads=1)
    if Path(out).exists() and Path(out).samefile(original.path):
        raise MienError(f"{str(out)!r} is the model itself; give --out another name.")
    if kind := original.metadata.get(QUANTIZED):
        raise MienError(f"{str(original.path)!r} is in {kind} already; give the float32 model that it was made from.")
    given = read_data(data, original.size, original.channels, quiet)
    given = with_labels(given, labels, original.labels) if labels else given
    rows = fit_to_model(original.metadata.get("mien.recipe", ""), original.labels, given)
    known = rows.split("train") if "train" in rows.split_names else rows
    split = next((name for name in ("validation", "test") if name in rows.split_names), rows.split_names[0])
    measured = rows.split(split)
    truth = match_labels(original.labels, measured, labels).argmax(axis=1)
    chosen = np.random.default_rng(0).permutation(len(known))[:faces]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_int8(original.path, known.images[np.sort(chosen)], original.metadata, Path(out))
    small = Classifier(out, head="label", threads=1)
    right = [each.predict_proba(measured.images).argmax(axis=1) == truth for each in (original, small)]
    slow, fast = (_seconds(each, measured.images[:TIMED]) for each in (original, small))
    return Quantized(
        out=Path(out),
        split=split,
        accuracies=(proportion(int(right[0].sum()), len(truth)), proportion(int(right[1].sum()), len(truth))),
        paired=mcnemar(*right),
        sizes=(original.path.stat().st_size, Path(out).stat().st_size),
        speed=slow / fast,
    )


def _seconds(classifier: "Classifier", faces: np.ndarray) -> float:
    """Time one face at a time; the median, for a machine that does other things too."""
    times = []
    for face in faces:
        start = time.perf_counter()
        classifier.predict_proba(face[None])
        times.append(time.perf_counter() - start)
    return float(np.median(times))


# Pushing: a finished run to the Hugging Face hub, with a card out of its own reports.

MARK = "library_name: mien"
"""What the head of our cards has in it: only a folder with such a card may have files replaced."""


@dataclass(frozen=True)
class Pushed:
    """What was made for the hub.

    Attributes:
        to: owner/name.
        files: the names of the files with their bytes, in the order of the names.
        card: the text of README.md.
        folder: where they were written, or None.
        url: where they are on the hub, or None where they were not uploaded.
    """

    to: str
    files: dict[str, int]
    card: str
    folder: Path | None = None
    url: str | None = None

    def table(self) -> str:
        """Write it as text for a terminal: the files, and where they went."""
        width = max(map(len, self.files))
        lines = [f"{name:<{width}}  {size:>12,} bytes" for name, size in self.files.items()]
        where = self.url or (f"written to {self.folder}, nothing uploaded" if self.folder else "a dry run, nothing uploaded")
        return "\n".join([*lines, f"{self.to}: {where}"])


def push(
    run: str | Path,
    to: str,
    private: bool = False,
    license: str | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Upload a finished run to the Hugging Face hub: model.onnx, a model card, recipe.yaml and metrics.json.

    The card is made of the run's reports. In text the path of your home folder becomes ~.

    Args:
        run: the folder of a finished run.
        to: owner/name on the hub; the repository is made if it is not there.
        private: make the repository private.
        license: the hub's identifier of a licence for the card, such as apache-2.0 or cc-by-nc-4.0.
        out: a folder to write the files to instead; nothing is uploaded.
        dry_run: only say what would be uploaded, and show the card.

    Raises:
        MienError: if the run is not finished, the name is none, there is no token, or the hub refuses; the sentence says
            what to do.
    """
    require("evaluate", "sklearn", "scipy")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", to):
        raise MienError(f"{to!r} is no name on the hub; write --to owner/name.")
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise MienError(f"{license!r} is no licence as the hub names them; write one such as apache-2.0, mit or cc-by-nc-4.0.")
    uploads = out is None and not dry_run
    if uploads:
        require("hub", "huggingface_hub")
        _check_token()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        card = _gather(Path(run), to, license, folder)
        made = Pushed(to, {path.name: path.stat().st_size for path in sorted(folder.iterdir())}, card)
        if out is not None and not dry_run:
            _copy(folder, Path(out))
            return Pushed(made.to, made.files, card, folder=Path(out))
        return Pushed(made.to, made.files, card, url=_upload(folder, to, private)) if uploads else made


def _gather(run: Path, to: str, licence: str | None, folder: Path) -> str:
    """Put what goes to the hub into an empty folder, and give the card's text."""
    from mien.evaluation.model_card import model_card
    from mien.inference.classifier import Classifier

    if not (run / "model.onnx").is_file() or not (run / "report" / "metrics.json").is_file():
        raise MienError(
            f"{str(run)!r} is not the folder of a finished run: that has a model.onnx and a report. "
            "Name one that `mien train ... --out RUN` made."
        )
    model = Classifier(run)
    reports = _reports(run, model)
    card = _without_home(model_card(to, model.metadata, list(reports.values()), licence))
    shutil.copyfile(model.path, folder / "model.onnx")
    (folder / "README.md").write_text(card, encoding="utf-8")
    for name in reports:
        text = (run / name / "metrics.json").read_text(encoding="utf-8")
        target = "metrics.json" if name == "report" else f"metrics-{name.removeprefix('report-')}.json"
        (folder / target).write_text(_without_home(text), encoding="utf-8")
    if (run / "recipe.yaml").is_file():
        text = (run / "recipe.yaml").read_text(encoding="utf-8")
    else:
        text = model.metadata.get("mien.recipe", "")
    (folder / "recipe.yaml").write_text(_without_home(text), encoding="utf-8")
    return card


def _reports(run: Path, model: "Classifier") -> dict[str, dict[str, Any]]:
    """Read the reports in a run's folder that measure its model, that of its training first."""
    from mien.evaluation.record import describe_model, read_record

    sha256 = describe_model(model).sha256
    first = read_record(run / "report" / "metrics.json")
    if first["model"]["sha256"] != sha256:
        raise MienError(f"The report {run / 'report'} measures another model than {model.path}; evaluate that one into it.")
    others = sorted(path.parent for path in run.glob("*/metrics.json") if path.parent.name != "report")
    records = {}
    for folder in others:
        try:
            record = read_record(folder / "metrics.json")
        except MienError:
            continue  # of something else that somebody keeps there
        if record["model"]["sha256"] == sha256:
            records[folder.name] = record
    return {"report": first} | records


def _without_home(text: str) -> str:
    """Leave out the path of the home folder, which names its user, from command lines."""
    home = str(Path.home())
    if len(Path(home).parts) < 2:  # a root, as some containers have it
        return text
    for written in {home, json.dumps(home)[1:-1]}:
        text = re.sub(rf"{re.escape(written)}(?=[/\\\s\"'`]|$)", "~", text)
    return text


def _copy(folder: Path, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise MienError(f"{str(out)!r} is a file; name a folder with --out.")
    if out.is_dir() and any(out.iterdir()):
        card = out / "README.md"
        if not card.is_file() or MARK not in card.read_text(encoding="utf-8", errors="replace"):
            raise MienError(f"The folder {str(out)!r} holds other files; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        write_whole(out / path.name, functools.partial(shutil.copyfile, path))


def _check_token() -> None:
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise MienError(
            "There is no token of the Hugging Face hub: log in with `hf auth login`, or set HF_TOKEN to one that may write. "
            "To see what would be uploaded, add --dry_run."
        )


def _upload(folder: Path, to: str, private: bool) -> str:
    import huggingface_hub
    from huggingface_hub import errors as hub

    api = huggingface_hub.HfApi(library_name="mien")
    try:
        url = str(api.create_repo(to, private=private or None, exist_ok=True))
        if private and not api.repo_info(to).private:
            raise MienError(
                f"{to} is on the hub already and public; make it private on its page first, or leave out --private."
            )
        api.upload_folder(repo_id=to, folder_path=folder, commit_message="Upload a model with mien push")
    except hub.HfHubHTTPError as problem:
        status = problem.response.status_code
        if status in (401, 403):
            raise MienError(
                f"The hub does not let this token write to {to}; take one with write access to it (`hf auth login`)."
            ) from None
        says = problem.server_message or str(problem).strip().splitlines()[0]
        raise MienError(f"The hub refused {to} (status {status}): {says.rstrip('.')}.") from None
    except hub.HFValidationError as problem:
        raise MienError(f"{to!r} is no name on the hub ({str(problem).splitlines()[0].rstrip('.')}).") from None
    except MienError:
        raise
    except Exception as problem:  # the hub's client lets errors of whichever HTTP library it uses through
        if isinstance(problem, OSError) and problem.errno is not None and problem.filename is not None:
            raise  # of this machine's disk
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0].rstrip(".: ")
        raise MienError(f"The hub could not be reached ({reason}); the same command goes on once there is a network.") from None
    return url
