"""Publishing a model: a smaller int8 file, and the upload of a run to the Hugging Face hub."""

import json
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from timeit import timeit
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from mien.data.faceset import Data
from mien.errors import MienError, check_number, first_line, load_table, load_templates, say
from mien.files import HUB_FILES, INT8_MODEL, check_file, check_place, files_in, identity, write_whole
from mien.inputs import parse_yaml
from mien.labels import select_changes
from mien.verbs import inputs_of, read_data, require

if TYPE_CHECKING:
    from mien.evaluation.metrics import PairedTest, Proportion

_REFUSALS = load_table(__file__)


@dataclass(frozen=True)
class Quantized:
    """An int8 model beside the original, both measured with the label head."""

    out: Path
    split: str  # the rows on which both were measured: validation, test or train
    accuracies: "tuple[Proportion, ...]"  # of the original and of the new model
    paired: "PairedTest"  # whether the difference is significant
    sizes: tuple[int, ...]  # of the two files, in bytes
    speed: float  # faces a second, new divided by original, one at a time on one thread of this machine

    def table(self) -> str:
        """Format it as text for a terminal."""
        return load_templates(__file__).get_template("quantized.txt").render(made=self)


def quantize(
    model: str | Path, data: Data, out: str | Path, faces: int = 1024, labels: dict[Any, Any] | None = None, quiet: bool = False
) -> Quantized:
    """Write an int8 version of a model, a quarter of its size and faster on most CPUs, and measure it beside the original.

    Args:
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name on the Hugging Face hub.
        data: labelled faces: the ranges of the activations are measured on the training rows, if there are any, and both
            models on the validation rows, else the test rows, else the same.
        out: the model file to write.
        faces: how many faces to measure the ranges on.
        labels: what becomes of labels of the data, as for `mien evaluate`.
        quiet: print no progress to stderr.

    Raises:
        MienError: if the model is an int8 model already, or the data do not fit it; the sentence says what to do.
    """
    require("train", "torch", "onnx", "sklearn", "scipy")
    from mien.inference.classifier import Classifier, find_model

    check_number("The number of faces", faces, 1)
    if Path(out).suffix.lower() != ".onnx":
        raise MienError(f"A model file ends in .onnx; choose such a name for --out, not {str(out)!r}.")
    if (own := identity(Path(out))) and own == identity(find_model(model)):
        raise MienError(f"{str(out)!r} is the model itself; give --out another name.")
    out = check_file(out, INT8_MODEL, inputs_of(data))
    from mien.evaluation import label_match, metrics
    from mien.training import run_folder, transfer

    original = Classifier(model, head="label", threads=1)
    if kind := original.metadata.get(transfer.QUANTIZED):
        raise MienError(f"{str(original.path)!r} is in {kind} already; give the float32 model that it was made from.")
    given = read_data(data, original.size, original.channels, quiet)
    rows = label_match.fit_to_model(original.metadata.get("mien.recipe", ""), original.labels, given, labels)
    changes = select_changes(labels or {}, original.labels.find)
    original = original.with_labels(changes)
    known = rows.split("train") if "train" in rows.split_names else rows
    split = next((name for name in ("validation", "test") if name in rows.split_names), rows.split_names[0])
    measured = rows.split(split)
    truth = label_match.match_labels(original.labels, measured, labels).argmax(axis=1)
    chosen = np.random.default_rng(0).permutation(len(known))[:faces]
    out.parent.mkdir(parents=True, exist_ok=True)
    run_folder.quantize(original.path, known.images[np.sort(chosen)], original.metadata, out)
    both = (original, Classifier(out, head="label", threads=1).with_labels(changes))
    correct = [each.predict_proba(measured.images).argmax(axis=1) == truth for each in both]
    singly = [face[None] for face in measured.images[:64]]
    # the median, since the machine may be busy with other work
    slow, fast = (median(timeit(partial(each.predict_proba, face), number=1) for face in singly) for each in both)
    say(f"model   {out}", quiet)
    accuracies = tuple(metrics.proportion(int(each.sum()), len(truth)) for each in correct)
    sizes = tuple(each.path.stat().st_size for each in both)
    return Quantized(out, split, accuracies, metrics.mcnemar(correct[0], correct[1], measured.groups), sizes, slow / fast)


@dataclass(frozen=True)
class Pushed:
    """The files for the hub."""

    to: str  # owner/name
    files: dict[str, int]  # sizes in bytes, sorted by name
    card: str  # the text of README.md
    folder: Path | None = None  # where they were written, if they were
    url: str | None = None  # where they are on the hub, if they were uploaded

    def table(self) -> str:
        """Format it as text for a terminal: the files and where they went; after a dry run, the card too."""
        return load_templates(__file__).get_template("pushed.txt").render(vars(self))


def push(
    run: str | Path,
    to: str,
    private: bool = False,
    license: str | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Upload a finished run to the Hugging Face hub: model.onnx, a model card, recipe.yaml and metrics.json.

    The card is made from the run's reports. The path of your home folder is replaced by ~ in all texts.

    Args:
        run: the folder of a finished run.
        to: owner/name on the hub; the repository is created if it does not exist.
        private: make the repository private.
        license: the hub's identifier of a licence for the card, such as apache-2.0 or cc-by-nc-4.0.
        out: a folder to write the files to instead; nothing is uploaded.
        dry_run: only show the card and list the files that would be uploaded.

    Raises:
        MienError: if the run is not finished, the name is invalid, there is no token, or the hub rejects the upload.
    """
    require("evaluate", "sklearn", "scipy")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", to):
        raise MienError(f"{to!r} is not a valid name on the hub; write --to owner/name.")
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise MienError(f"{license!r} is not a licence identifier of the hub; write one such as apache-2.0 or cc-by-nc-4.0.")
    if out is None and not dry_run:
        require("hub", "huggingface_hub")
        import huggingface_hub

        if huggingface_hub.get_token() is None:
            raise MienError(_REFUSALS["no token"])
    if out is not None:  # it may be missing, empty, or what an earlier push wrote, maybe with files of other names
        if files_in(Path(out)) and not HUB_FILES[".md"].matches(Path(out, "README.md")):
            raise MienError(f"The folder {str(out)!r} holds other files; choose another --out.")
        for path in Path(out).glob("*"):
            if re.fullmatch(r"model\.onnx|recipe\.yaml|metrics.*\.json", path.name):
                check_file(path, HUB_FILES[path.suffix])
        check_place(out, run)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        card = _write_files(Path(run), to, license, folder)
        made = sorted(folder.iterdir())
        pushed = Pushed(to, {path.name: path.stat().st_size for path in made}, card)
        if dry_run:
            return pushed
        if out is None:
            return replace(pushed, url=_upload(folder, to, private))
        Path(out).mkdir(parents=True, exist_ok=True)
        for path in made:
            write_whole(Path(out, path.name), partial(shutil.copyfile, path), HUB_FILES[path.suffix])
        return replace(pushed, folder=Path(out))


def _write_files(run: Path, to: str, licence: str | None, folder: Path) -> str:
    from mien.evaluation.record import describe_model, read_report
    from mien.inference.classifier import Classifier

    report, recipe = run / "report" / "metrics.json", run / "recipe.yaml"
    if not (run / "model.onnx").is_file() or not report.is_file():
        raise MienError(f"{str(run)!r} is not the folder of a finished run, which has a model.onnx and a report; name one.")
    model = Classifier(run)
    sha256, records = describe_model(model)["sha256"], {report: read_report(report)}
    if records[report]["model"]["sha256"] != sha256:
        raise MienError(f"The report {report.parent} is about another model than {model.path}; evaluate that one into it.")
    for path in sorted(run.glob("*/metrics.json")):
        with suppress(MienError):  # a file of something else
            if (record := read_report(path))["model"]["sha256"] == sha256:
                records[path] = record
    texts = {"README.md": model_card(to, model.metadata, list(records.values()), licence)}
    texts["recipe.yaml"] = recipe.read_text("utf-8") if recipe.is_file() else model.metadata.get("mien.recipe", "")
    for path in records:
        name = "metrics.json" if path == report else f"metrics-{path.parent.name.removeprefix('report-')}.json"
        texts[name] = path.read_text(encoding="utf-8")
    home = str(Path.home())  # in command lines it names its user; not if it is the root folder, as in some containers
    for written in {home, json.dumps(home)[1:-1]} if len(Path(home).parts) > 1 else ():
        texts = {name: re.sub(rf"{re.escape(written)}(?=[/\\\s\"'`]|$)", "~", text) for name, text in texts.items()}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copyfile(model.path, folder / "model.onnx")
    return texts["README.md"]


def model_card(repository: str, metadata: dict[str, str], records: list[dict[str, Any]], licence: str | None = None) -> str:
    """Write the card of a model file with this metadata, from its reports as `read_report` gives them, the training's first."""
    from markupsafe import Markup

    from mien.evaluation.plots import new_environment

    environment = new_environment(text=True)
    environment.filters |= {
        "interval": lambda share: "-" if share is None else "{value:.1%}, {low:.1%} to {high:.1%}".format(**share),
        "slug": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "faces",
        "yaml": lambda entry: Markup(yaml.safe_dump(entry, allow_unicode=True, width=74).strip()),  # 80 less the indentation
    }
    recipe = parse_yaml(metadata.get("mien.recipe") or "{}", "The recipe in the model file")
    data = json.loads(metadata.get("mien.data") or "{}")
    given = {"repository": repository, "licence": licence, "records": records, "metadata": metadata}
    return environment.get_template("model_card.md").render(recipe=recipe, data=data, **given) + "\n"


def _upload(folder: Path, to: str, private: bool) -> str:
    import huggingface_hub
    from huggingface_hub import errors as hub

    api = huggingface_hub.HfApi(library_name="mien")
    try:
        url = str(api.create_repo(to, private=private or None, exist_ok=True))
        if private and not api.repo_info(to).private:
            raise MienError(f"{to} is on the hub already and public; make it private on its page, or leave out --private.")
        api.upload_folder(repo_id=to, folder_path=folder, commit_message="Upload a model with mien push")
        return url
    except hub.HFValidationError as problem:
        raise MienError(_REFUSALS["name"].format(to, first_line(problem))) from None
    except hub.HfHubHTTPError as problem:
        status, message = problem.response.status_code, (problem.server_message or first_line(problem)).rstrip(".")
        raise MienError(_REFUSALS["no access" if status in (401, 403) else "rejected"].format(to, status, message)) from None
    except Exception as problem:  # the hub's client passes on the errors of its HTTP library
        if isinstance(problem, MienError) or (isinstance(problem, OSError) and problem.filename is not None):
            raise  # the error above, or one of this machine's disk
        raise MienError(_REFUSALS["no network"].format(first_line(problem))) from None
