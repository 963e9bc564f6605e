"""What is installed here, by the notes that pip leaves; no package is imported for it."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module, metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from mien._version import __version__
from mien.errors import MienError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


PLAIN = ""
"""The name under which `pip install mien` counts, beside its extras."""

NOT_FOR_USERS = ("all", "dev")
"""Extras that are not told of: the others in one, and the tools of mien's own developers."""

ON_REQUEST = {"pandas": "tables in Python", "pillow-heif": "HEIC photos"}
"""Packages that no extra brings, and what mien does with them where they are."""

RIVALS = (("onnxruntime", "onnxruntime-gpu"), ("opencv-python-headless", "opencv-python", "opencv-contrib-python"))
"""Packages that write their files over each other's; the first of each is the one that mien names."""

STANDS_IN = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
}
"""Packages that bring the same module as one that is named."""

NVIDIA_DRIVER = Path("/proc/driver/nvidia/gpus")
"""Where Linux tells of the GPUs that NVIDIA's driver has found."""


@dataclass(frozen=True)
class Package:
    """One package that mien names.

    Attributes:
        name: as pip knows it.
        needed: the versions that will do, such as ">=1.26"; empty where any will.
        version: the installed one, or None.
        fits: whether that one will do.
    """

    name: str
    needed: str
    version: str | None
    fits: bool


def version(name: str) -> str | None:
    """Give the installed version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def packages_by_extra() -> dict[str, list[Package]]:
    """List what mien needs, under PLAIN, and what each of its extras brings; empty where mien is not installed by pip."""
    from packaging.requirements import Requirement

    try:
        stated = [Requirement(text) for text in metadata.requires("mien") or ()]
        extras = metadata.metadata("mien").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return {}
    plain = [each for each in stated if _applies(each, PLAIN)]
    found = {PLAIN: [_package(each) for each in plain]}
    for extra in sorted(set(extras).difference(NOT_FOR_USERS)):
        found[extra] = [_package(each) for each in stated if each not in plain and _applies(each, extra)]
    return found


def _applies(requirement: "Requirement", extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _package(requirement: "Requirement") -> Package:
    name = requirement.name
    for candidate in (name, *STANDS_IN.get(name, ())):
        if (found := version(candidate)) is not None:
            return Package(
                candidate, str(requirement.specifier), found, requirement.specifier.contains(found, prereleases=True)
            )
    return Package(name, str(requirement.specifier), None, False)


def rivals() -> list[Sequence[str]]:
    """List packages that are installed together and should not be."""
    together = [[name for name in names if version(name) is not None] for names in RIVALS]
    return [names for names in together if len(names) > 1]


def nvidia_gpus() -> list[str]:
    """Name the NVIDIA GPUs that this machine's driver tells of."""
    found = []
    with suppress(OSError):
        for told in sorted(NVIDIA_DRIVER.glob("*/information")):
            lines = told.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    if found or (tool := shutil.which("nvidia-smi")) is None:
        return found
    with suppress(OSError, subprocess.SubprocessError):
        words = [tool, "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=2, check=True)
        found = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return found


def torch_accelerator() -> str | None:
    """Say what the installed PyTorch was built for: "CUDA 12.8", "ROCm 6.2", or "CPU"; None where there is no PyTorch."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    noted: dict[str, str] = {}
    with suppress(OSError):
        for line in (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            noted[name.partition(":")[0].strip()] = value.strip().strip("'\"")
    for key, name in (("cuda", "CUDA"), ("hip", "ROCm")):
        if noted.get(key, "None") not in ("None", ""):
            return f"{name} {noted[key]}"
    return "CPU"


# What `mien doctor` found, as text and as JSON.


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: its name, whether it is as it should be, and what there is to say of it."""

    name: str
    good: bool
    says: str


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        works: whether `mien predict` works.
        mien: its version.
        python: the version of Python.
        system: name and kind of the operating system.
        packages: the packages that mien needs or can use, with their versions, or None where they are not installed.
        missing: what each extra that is not whole lacks.
        providers: what ONNX Runtime can run on, by its own names, best first.
        gpus: the NVIDIA GPUs that the driver tells of.
        torch: what PyTorch was built for, or None where it is not installed.
        models: the embedded models.
        detectors: what finds faces.
        caches: folders, with what they hold.
        settings: the environment variables of mien that are set.
        advice: what to do, one sentence each; empty where all is well.
    """

    works: bool = True
    mien: str = __version__
    python: str = f"{platform.python_version()} ({sys.executable})"
    system: str = ""
    packages: dict[str, str | None] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    providers: list[str] = field(default_factory=list)
    gpus: list[str] = field(default_factory=list)
    torch: str | None = None
    models: list[Check] = field(default_factory=list)
    detectors: list[Check] = field(default_factory=list)
    caches: list[Check] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def table(self) -> str:
        """Write it as text for a terminal; its last line says that all is well, or what to do."""
        lines = [f"mien {self.mien}   Python {self.python}   {self.system}", ""]
        there = [f"{name} {installed}" for name, installed in self.packages.items() if installed is not None]
        lines += _block("packages", _folded(there))
        lines += _block(
            "not there", [f"{', '.join(names)}: pip install 'mien[{extra}]'" for extra, names in self.missing.items()]
        )
        lines += _block("", [f"{name}, for {use}: pip install {name}" for name, use in ON_REQUEST.items() if not version(name)])
        lines += _block("runs on", [", ".join(name.removesuffix("ExecutionProvider") for name in self.providers) or "nothing"])
        lines += _block("GPU", [*self.gpus, *([f"PyTorch is built for {self.torch}"] if self.torch else [])])
        for title, checks in (("models", self.models), ("detectors", self.detectors), ("caches", self.caches)):
            width = max((len(check.name) for check in checks), default=0)
            lines += _block(title, [f"{check.name:<{width}}  {check.says}" for check in checks])
        lines += _block("settings", [f"{name}={value}" for name, value in self.settings.items()])
        if not self.advice:
            return "\n".join([*lines, "", "all is well"])
        return "\n".join([*lines, "", "mien predict " + ("works; still:" if self.works else "does not work:"), *self.advice])


def _block(title: str, lines: list[str]) -> list[str]:
    return [f"{title if not number else '':<11}{line}" for number, line in enumerate(lines)]


def _folded(words: list[str], width: int = 100) -> list[str]:
    """Break after commas only: a package and its version stay together."""
    lines = textwrap.wrap(", ".join(word.replace(" ", "\0") for word in words), width)
    return [line.replace("\0", " ") for line in lines]


# Diagnosing: whether mien works here, with what, and what is missing.

NEEDED_MODULES = ("numpy", "PIL", "cv2", "onnxruntime", "jsonargparse")
"""What has to be imported to predict."""

ON_GPU = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
"""What brings ONNX Runtime for NVIDIA's GPUs with all that it needs."""

COUNTING_TIME = 0.3
"""Seconds at most to add up what lies in a cache."""


def doctor() -> Diagnosis:
    """Look at what mien needs here: packages, models, detectors, caches, GPUs. Nothing is fetched, and PyTorch not imported."""
    found = Diagnosis(system=f"{platform.system()} {platform.release()} {platform.machine()}")
    found.settings = {name: value for name, value in sorted(os.environ.items()) if name.startswith("MIEN_")}
    _look_at_packages(found)
    broken = [problem for name in NEEDED_MODULES if (problem := _import_problem(name))]
    if broken:
        found.works = False
        found.advice += broken
        return found
    import onnxruntime

    found.providers = list(onnxruntime.get_available_providers())
    _look_at_gpus(found)
    _look_at_models(found)
    _look_at_detectors(found)
    _look_at_caches(found)
    return found


def _look_at_packages(found: Diagnosis) -> None:
    by_extra = packages_by_extra()
    if not by_extra:
        found.advice.append("mien is not installed by pip, so nobody sees to what it needs: pip install mien")
    for extra, packages in by_extra.items():
        found.packages |= {package.name: package.version for package in packages}
        lacking = [package.name for package in packages if package.version is None]
        if lacking and extra != PLAIN:
            found.missing[extra] = lacking
        for package in packages:
            say = f"pip install -U '{package.name}{package.needed}'"
            if package.version is None and extra == PLAIN:
                found.works = False
                found.advice.append(f"{package.name} is missing, and nothing works without: {say}")
            elif package.version is not None and not package.fits:
                line = f"{package.name} is {package.version}, and mien needs {package.needed}: {say}"
                found.advice += [] if line in found.advice else [line]
    found.packages |= {name: version(name) for name in ON_REQUEST}
    for names in rivals():
        found.advice.append(
            f"{' and '.join(names)} write their files over each other's: pip uninstall {' '.join(names)}, then install one"
        )


def _import_problem(name: str) -> str:
    """Import a module and say why that failed; empty where it did not."""
    try:
        import_module(name)
    except Exception as problem:  # a damaged or unfitting binary raises whatever it likes
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        return f"{name} cannot be imported ({reason}): pip install --force-reinstall mien"
    return ""


def _look_at_gpus(found: Diagnosis) -> None:
    found.gpus, found.torch = nvidia_gpus(), torch_accelerator()
    if not found.gpus:
        return
    if "CUDAExecutionProvider" not in found.providers:
        found.advice.append(f"a GPU is there, and ONNX Runtime does not use it: pip uninstall onnxruntime, then {ON_GPU}")
    if found.torch == "CPU":
        found.advice.append(
            "a GPU is there, and this PyTorch is built for the CPU: to train, install the one for CUDA (pytorch.org)"
        )


def _look_at_models(found: Diagnosis) -> None:
    from mien.inference.classifier import DEFAULT_MODEL, embedded_models

    names = embedded_models()
    found.models = [_look_at_model(name, found) for name in names]
    if DEFAULT_MODEL not in names:
        found.advice.append(f"the embedded model {DEFAULT_MODEL} is not there: pip install --force-reinstall mien")
    found.works &= any(check.name == DEFAULT_MODEL and check.good for check in found.models)


def _look_at_model(name: str, found: Diagnosis) -> Check:
    import numpy as np

    from mien.inference.classifier import Classifier, find_model

    again = "pip install --force-reinstall mien"
    try:
        model = Classifier(name, threads=1)
        gray = np.full((1, *model.face_shape), 128, np.uint8)
        start = time.perf_counter()
        answer = model.predict_proba(gray)[0]
        milliseconds = (time.perf_counter() - start) * 1e3
    except Exception as problem:  # a MienError says it in a sentence; ONNX Runtime's errors share no public base class
        found.advice.append(f"the model {name} does not answer ({str(problem).strip() or type(problem).__name__}): {again}")
        return Check(name, False, "does not answer")
    if not np.isfinite(answer).all() or abs(float(answer.sum()) - 1) > 1e-3:
        found.advice.append(f"the model {name} answers with what are no probabilities: {again}")
        return Check(name, False, "answers with what are no probabilities")
    if "CUDAExecutionProvider" in found.providers and "CUDAExecutionProvider" not in model.providers:
        found.advice.append(f"ONNX Runtime cannot load CUDA or cuDNN, and runs on the CPU: {ON_GPU}")
    says = f"answers in {milliseconds:.1f} ms"
    path = find_model(name)
    card = path.with_suffix(".md")
    if not card.is_file():
        return Check(name, True, f"{says}; has no card")
    noted = re.findall(r"\b[0-9a-f]{64}\b", card.read_text(encoding="utf-8"))
    if noted and hashlib.sha256(path.read_bytes()).hexdigest() not in noted:
        found.advice.append(f"the model {name} is not the file that its card tells of (sha256): {again}")
        return Check(name, True, f"{says}; not the file of its card")
    return Check(name, True, f"{says}; the file of its card")


def _look_at_detectors(found: Diagnosis) -> None:
    from mien.inference.detection import Haar

    try:
        Haar()
        found.detectors.append(Check("haar", True, "comes with OpenCV"))
    except MienError as problem:
        found.detectors.append(Check("haar", False, str(problem)))
    found.detectors.append(_look_at_yunet(found))
    if not any(check.good for check in found.detectors):
        found.works = False
        found.advice.append("nothing here finds faces: pip install 'opencv-python-headless<5'")


def _look_at_yunet(found: Diagnosis) -> Check:
    from mien.files import cache_folder
    from mien.inference import detection as yunet

    named = os.environ.get("MIEN_DETECTOR", "")
    try:
        path = Path(named) if named.endswith(".onnx") else cache_folder() / Path(yunet.URL).name
        if path.is_file():
            yunet.YuNet(path)
            return Check("yunet", True, str(path))
    except MienError as problem:
        found.advice.append(str(problem))
        return Check("yunet", False, "cannot be opened")
    if (failed := path.with_name(f"{path.name}.failed")).is_file():
        found.advice.append(f"{failed.read_text(encoding='utf-8')} Save that file as {path}, and faces are found better.")
        return Check("yunet", False, "could not be fetched")
    if path == Path(named):
        found.advice.append(f"MIEN_DETECTOR names {named!r}, which is not there; set it to a file that is, or not at all.")
        return Check("yunet", False, "not there")
    return Check("yunet", False, "not fetched yet; the first `mien predict` does")


def _look_at_caches(found: Diagnosis) -> None:
    from mien.files import cache_folder

    try:
        own = cache_folder()
    except MienError as problem:
        found.advice.append(str(problem))
    else:
        writable = os.access(own, os.W_OK)
        found.caches.append(Check("mien", writable, _contents(own)))
        if not writable:
            found.advice.append(f"the cache folder {own} cannot be written: set MIEN_CACHE to one that can")
    if (hub := hub_cache()).is_dir():
        found.caches.append(Check("hub", True, _contents(hub)))


def hub_cache() -> Path:
    """Give the folder in which the Hugging Face hub's client keeps what it fetched."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _contents(folder: Path) -> str:
    files, size, end, more = 0, 0, time.perf_counter() + COUNTING_TIME, ""
    for place, _, names in os.walk(folder):
        if time.perf_counter() > end:
            more = "more than "
            break
        files += len(names)
        size += sum((Path(place) / name).lstat().st_size for name in names)
    return f"{folder}  {more}{files:,} files, {more}{size / 1e6:,.1f} MB"
