"""What is here: the recipes, the embedded models, and whether this installation works."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Literal

from mien import __version__
from mien.errors import MienError

USES = {
    "evaluate": "mien evaluate, audit and compare, and Parquet files",
    "train": "mien train and quantize",
    "timm": "recipes with networks of timm",
    "hub": "models by hf:owner/name, and mien push",
}
"""What each extra is for; `mien doctor` names no other."""

ON_REQUEST = {"pandas": "mien.to_dataframe", "pillow-heif": "HEIC photos"}
"""Packages that no extra installs, and what mien uses them for."""

STAND_INS = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
}
"""Packages with the same module as a required one: one of them is enough, and two overwrite each other's files."""

NEEDED_MODULES = ("numpy", "PIL", "cv2", "onnxruntime", "jsonargparse")
"""The modules that `mien predict` imports."""

ON_GPU = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
AGAIN = "pip install --force-reinstall mien"


def recipes(name: str | None = None) -> str:
    """List the recipes of mien, or print one with its network's layers.

    Args:
        name: the recipe whose YAML is to be printed; a list of all, if not given.
    """
    from mien.training.recipe import load_recipe, recipe_names, recipe_path
    from mien.verbs.train import describe_network

    if name is None:
        width = max(map(len, recipe_names())) + 2
        return "\n".join(f"{known:<{width}}{load_recipe(known).description}" for known in recipe_names())
    lines = [recipe_path(name).read_text(encoding="utf-8")]
    try:
        lines += [f"# {line}".rstrip() for line in describe_network(name).splitlines()]  # comments, so that all of it is YAML
    except MienError as missing:
        print(f"mien: without the network's layers: {missing}", file=sys.stderr)
    return "\n".join(lines)


def models() -> str:
    """List the embedded models: size, input, labels, card."""
    from mien.inference.classifier import Classifier, embedded_models

    lines, names = [], embedded_models()
    width = max(map(len, names)) + 2
    for name in names:
        model = Classifier(name)
        kind = f"{model.size} px, {'gray' if model.channels == 1 else 'colour'}"
        megabytes = model.path.stat().st_size / 1e6
        lines.append(f"{name:<{width}}{megabytes:.1f} MB  {model.parameters:,} parameters  {kind}  {', '.join(model.labels)}")
        if len(model.heads) > 1:
            lines.append(f"{'':<{width}}heads: {', '.join(model.heads)} (--head; {model.head} is the default)")
        lines.append(f"{'':<{width}}card: {model.path.with_suffix('.md')}")
    return "\n".join(lines)


def doctor(*, format: Literal["table", "json"] = "table") -> int:
    """Check whether mien works here: packages, models, detectors, cache, GPU. Downloads nothing.

    Args:
        format: table, or json for programs.

    Returns:
        The exit status: 0 if `mien predict` works, else 1.
    """
    found = diagnose()
    print(json.dumps(asdict(found), indent=2, ensure_ascii=False) if format == "json" else found.table())
    return 0 if found.works else 1


@dataclass(frozen=True)
class Check:
    """One checked thing: its name, whether it is good, and its description."""

    name: str
    good: bool
    says: str


@dataclass
class Diagnosis:
    """The result of `mien doctor`; the names of its fields are the keys of its JSON."""

    works: bool = True
    mien: str = __version__
    python: str = f"{platform.python_version()} ({sys.executable})"
    system: str = f"{platform.system()} {platform.release()} {platform.machine()}"
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

    def table(self) -> str:
        """Format it as text for a terminal; the last lines say what to do, or that nothing is."""
        installed = [f"{name}\0{number}" for name, number in self.packages.items() if number is not None]
        missing = [
            f"{', '.join(names)}: pip install 'mien[{extra}]', for {USES[extra]}" for extra, names in self.missing.items()
        ]
        missing += [f"{name}: pip install {name}, for {use}" for name, use in ON_REQUEST.items() if not self.packages.get(name)]
        providers = ", ".join(name.removesuffix("ExecutionProvider") for name in self.providers)
        parts = {
            "packages": [line.replace("\0", " ") for line in textwrap.wrap(", ".join(installed), 100)],
            "missing": missing,
            "runs on": [providers or "nothing"],
            "GPU": [*self.gpus, *([f"PyTorch is built for {self.torch}"] if self.torch else [])],
            "models": [f"{check.name:<12}  {check.says}" for check in self.models],
            "detectors": [f"{check.name:<12}  {check.says}" for check in self.detectors],
            "cache": [check.says for check in self.caches],
            "settings": [f"{name}={value}" for name, value in self.settings.items()],
        }
        lines = [f"mien {self.mien}   Python {self.python}   {self.system}", ""]
        for title, part in parts.items():
            lines += [f"{title if line is part[0] else '':<11}{line}" for line in part]
        works = "mien predict " + ("works; still:" if self.works else "does not work:")
        return "\n".join([*lines, "", *([works, *self.advice] if self.advice else ["all is well"])])


def diagnose() -> Diagnosis:
    """Check packages, models, detectors, the cache and GPUs, without a download and without importing PyTorch."""
    found = Diagnosis(settings={name: value for name, value in sorted(os.environ.items()) if name.startswith("MIEN_")})
    _check_packages(found)
    if broken := [problem for name in NEEDED_MODULES if (problem := _import_problem(name))]:
        found.works = False
        found.advice += broken
        return found
    import onnxruntime

    from mien.inference.classifier import DEFAULT_MODEL, embedded_models

    found.providers = list(onnxruntime.get_available_providers())
    found.gpus, found.torch = nvidia_gpus(), torch_accelerator()
    if found.gpus and "CUDAExecutionProvider" not in found.providers:
        found.advice.append(f"there is a GPU that ONNX Runtime does not use: pip uninstall onnxruntime, then {ON_GPU}")
    if found.gpus and found.torch == "CPU":
        found.advice.append("there is a GPU, but PyTorch is built for the CPU: to train, install it for CUDA (pytorch.org)")
    found.models = [_check_model(name, found) for name in embedded_models()]
    if DEFAULT_MODEL not in embedded_models():
        found.advice.append(f"the embedded model {DEFAULT_MODEL} is not there: {AGAIN}")
    found.works &= any(check.name == DEFAULT_MODEL and check.good for check in found.models)
    _check_detectors(found)
    _check_cache(found)
    return found


def version(name: str) -> str | None:
    """Give the installed version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _check_packages(found: Diagnosis) -> None:
    from packaging.requirements import Requirement

    try:
        stated = [Requirement(text) for text in metadata.requires("mien") or ()]
    except metadata.PackageNotFoundError:
        stated = []
        found.advice.append("mien is not installed by pip, which would check the packages it needs: pip install mien")
    required = [each for each in stated if each.marker is None or each.marker.evaluate({"extra": ""})]
    groups = {"": required} | {
        extra: [each for each in stated if each not in required and each.marker and each.marker.evaluate({"extra": extra})]
        for extra in USES
    }
    for extra, requirements in groups.items():
        for each in requirements:
            name = next((name for name in (each.name, *STAND_INS.get(each.name, ())) if version(name)), each.name)
            found.packages[name] = number = version(name)
            update = f"pip install -U '{name}{each.specifier}'"
            if number is None and extra:
                found.missing.setdefault(extra, []).append(name)
            elif number is None:
                found.works = False
                found.advice.append(f"{name} is missing, and nothing works without it: {update}")
            elif not each.specifier.contains(number, prereleases=True):
                found.advice.append(f"{name} is {number}, and mien needs {each.specifier}: {update}")
    found.packages |= {name: version(name) for name in ON_REQUEST}
    found.advice = list(dict.fromkeys(found.advice))  # two extras may name the same package
    for names in ([name for name in (first, *others) if version(name)] for first, others in STAND_INS.items()):
        if len(names) > 1:
            found.advice.append(
                f"{' and '.join(names)} overwrite each other: pip uninstall {' '.join(names)}, then install one"
            )


def _import_problem(name: str) -> str:
    """Import a module, and give the reason if that fails, else an empty text."""
    try:
        import_module(name)
    except Exception as problem:  # a damaged binary may raise anything
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        return f"{name} cannot be imported ({reason}): {AGAIN}"
    return ""


def nvidia_gpus() -> list[str]:
    """Name this machine's NVIDIA GPUs, as its driver lists them."""
    with suppress(OSError, subprocess.SubprocessError):
        words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        listed = subprocess.run(words, capture_output=True, text=True, timeout=2, check=True).stdout
        return [line.strip() for line in listed.splitlines() if line.strip()]
    return []


def torch_accelerator() -> str | None:
    """Say what the installed PyTorch is built for: "CUDA 12.8", "ROCm 6.2" or "CPU"; None without PyTorch."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    with suppress(OSError):
        built = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
        if found := re.search(r"^(cuda|hip)\b[^=\n]*=\s*['\"]([^'\"]+)", built, re.MULTILINE):
            return f"{'CUDA' if found[1] == 'cuda' else 'ROCm'} {found[2]}"
    return "CPU"


def _check_model(name: str, found: Diagnosis) -> Check:
    """Classify a gray image, and compare the model file with its card's sha256."""
    import numpy as np

    from mien.inference.classifier import Classifier, find_model

    try:
        model = Classifier(name, threads=1)
        start = time.perf_counter()
        total = float(model.predict_proba(np.full((1, *model.face_shape), 128, np.uint8)).sum())
        says = f"answers in {(time.perf_counter() - start) * 1e3:.1f} ms"
        if not abs(total - 1) < 1e-3:
            raise MienError(f"its probabilities sum to {total:g}")
    except Exception as problem:  # ONNX Runtime's errors have no public base class
        found.advice.append(f"the model {name} does not answer ({str(problem).strip() or type(problem).__name__}): {AGAIN}")
        return Check(name, False, "does not answer")
    if "CUDAExecutionProvider" in found.providers and "CUDAExecutionProvider" not in model.providers:
        found.advice.append(f"ONNX Runtime cannot load CUDA or cuDNN, and runs on the CPU: {ON_GPU}")
    path = find_model(name)
    card = path.with_suffix(".md")
    if not card.is_file():
        return Check(name, True, f"{says}; has no card")
    noted = re.findall(r"\b[0-9a-f]{64}\b", card.read_text(encoding="utf-8"))
    if noted and hashlib.sha256(path.read_bytes()).hexdigest() not in noted:
        found.advice.append(f"the model {name} is not the file that its card describes (sha256): {AGAIN}")
        return Check(name, True, f"{says}; not the file of its card")
    return Check(name, True, f"{says}; the file of its card")


def _check_detectors(found: Diagnosis) -> None:
    from mien.files import cache_folder
    from mien.inference import detection

    try:
        detection.Haar()
        found.detectors.append(Check("haar", True, "comes with OpenCV"))
    except MienError as problem:
        found.detectors.append(Check("haar", False, str(problem)))
    named = os.environ.get("MIEN_DETECTOR", "")
    good, says = False, "not downloaded yet; the first `mien predict` does that"
    try:
        path = Path(named) if named.endswith(".onnx") else cache_folder() / Path(detection.URL).name
        failed = path.with_name(f"{path.name}.failed")
        if path.is_file():
            detection.YuNet(path)
            good, says = True, str(path)
        elif failed.is_file():
            says = "could not be downloaded"
            found.advice.append(f"{failed.read_text(encoding='utf-8')} Save that file as {path}, and more faces are found.")
        elif path == Path(named):
            says = "not there"
            found.advice.append(f"MIEN_DETECTOR names {named!r}, which does not exist; set it to a file, or unset it.")
    except MienError as problem:
        says = "cannot be opened"
        found.advice.append(str(problem))
    found.detectors.append(Check("yunet", good, says))
    if not any(check.good for check in found.detectors):
        found.works = False
        found.advice.append("no face detector works: pip install 'opencv-python-headless<5'")


def _check_cache(found: Diagnosis) -> None:
    from mien.files import cache_folder

    try:
        folder = cache_folder()
    except MienError as problem:
        found.advice.append(str(problem))
        return
    writable = os.access(folder, os.W_OK)
    found.caches.append(Check("mien", writable, str(folder)))
    if not writable:
        found.advice.append(f"the cache folder {folder} is not writable: set MIEN_CACHE to one that is")
