"""`mien recipes`, `mien models` and `mien doctor`: what is installed, and whether it works."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Literal

from mien import __version__
from mien.errors import MienError, first_line, load_table, load_templates, say, show, to_json
from mien.verbs import require

_TEXTS = load_table(__file__, "doctor")


def recipes(name: str | None = None) -> str:
    """List the recipes of mien, or print one with its network's layers.

    Args:
        name: the recipe whose YAML is to be printed; a list of all, if not given.
    """
    from mien.training.recipe import load_recipe, recipe_names, recipe_path

    if name is None:
        width = max(map(len, recipe_names())) + 2
        return "\n".join(f"{known:<{width}}{load_recipe(known).description}" for known in recipe_names())
    recipe, text = load_recipe(name), recipe_path(name).read_text(encoding="utf-8")
    try:
        require("train", "torch")
        from mien.training.networks import build_network, layers, multiply_adds

        classes = (len(recipe.keep) if recipe.keep else 7) * len(recipe.heads)
        network, faces = build_network(recipe, classes), (recipe.channels, recipe.network_size)
        sums = {"parameters": sum(p.numel() for p in network.parameters()), "multiply_adds": multiply_adds(network, *faces)}
        return load_templates(__file__).get_template("recipe.txt").render(sums, text=text, layers=layers(network, *faces))
    except MienError as missing:
        say(f"mien: without the network's layers: {missing}")
        return text


def models() -> str:
    """List the embedded models: size, input, labels, card."""
    from mien.inference.classifier import Classifier, embedded_models

    template = load_templates(__file__).get_template("models.txt")
    return template.render(models={name: Classifier(name) for name in embedded_models()}).rstrip()


def doctor(*, format: Literal["table", "json"] = "table") -> int:
    """Check whether mien works here: packages, models, detectors, cache, GPU. Downloads nothing.

    The exit status is 0 if `mien predict` works, else 1.

    Args:
        format: table, or json for programs.
    """
    found = diagnose()
    is_table = format == "table" and find_spec("jinja2") is not None  # which this installation may lack
    show(found.table() if is_table else to_json(asdict(found), indent=2))
    return 0 if found.works else 1


@dataclass
class Diagnosis:
    """The result of `mien doctor`; the names of its fields are the keys of its JSON."""

    works: bool = True  # whether `mien predict` does
    mien: str = __version__
    python: str = f"{platform.python_version()} ({sys.executable})"
    system: str = f"{platform.system()} {platform.release()} {platform.machine()}"
    packages: dict[str, str] = field(default_factory=dict)  # versions
    missing: dict[str, list[str]] = field(default_factory=dict)  # packages by extra
    providers: list[str] = field(default_factory=list)  # of ONNX Runtime, in use
    gpus: list[str] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    detectors: dict[str, str] = field(default_factory=dict)
    cache: str | None = None
    settings: dict[str, str] = field(default_factory=dict)  # variables of the environment
    advice: list[str] = field(default_factory=list)  # what to do

    @contextmanager
    def check(self, what: str = "", necessary: bool = True) -> Iterator[None]:
        """Note what to do if the block fails; `mien predict` does not work without what is necessary."""
        try:
            yield
        except Exception as problem:  # a damaged binary may raise anything, and ONNX Runtime's errors have no public base class
            self.advice.append(_TEXTS["broken"].format(what=what, problem=first_line(problem)) if what else str(problem))
            self.works &= not necessary

    def table(self) -> str:
        """Format it as text for a terminal; the last lines say what to do, or that nothing is."""
        template = load_templates(__file__, text=True).get_template("doctor.txt")
        return template.render(asdict(self), lacks=_TEXTS["lacks"]).rstrip()


def version(name: str) -> str | None:
    """Give the installed version of a package, or None."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def _check_packages(found: Diagnosis) -> None:
    from packaging.requirements import Requirement

    required = [Requirement(text) for text in metadata.requires("mien") or ()] if version("mien") else []
    by_extra: dict[str, tuple[str, Requirement]] = {}  # each package with the first extra that needs it
    for extra in ("", *_TEXTS["lacks"]):
        needed = {each.name: each for each in required if not each.marker or each.marker.evaluate({"extra": extra})}
        by_extra |= {name: (extra, each) for name, each in needed.items() if name not in by_extra}
    for package, (extra, requirement) in by_extra.items():
        wanted = requirement.specifier
        names = _TEXTS["runtimes"] if package == "onnxruntime" else (package,)
        installed = {name: number for name in names if (number := version(name))}
        found.packages |= installed
        for name, number in installed.items():
            if not wanted.contains(number, prereleases=True):
                found.advice.append(_TEXTS["version"].format(name=name, number=number, wanted=wanted))
        if len(installed) > 1:
            found.advice.append(_TEXTS["both"].format(both=" and ".join(installed), names=" ".join(installed)))
        elif extra and not installed:
            found.missing.setdefault(extra, []).append(package)
        elif not installed:
            found.advice.append(_TEXTS["missing"].format(name=package, wanted=wanted))
            found.works = False
    for name in _TEXTS["modules"]:
        with found.check(f"{name} cannot be imported"):
            import_module(name)


def nvidia_gpus() -> list[str]:
    """Name this machine's NVIDIA GPUs, as its driver lists them."""
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(words, capture_output=True, text=True, timeout=2, check=True).stdout
        return [line.strip() for line in listed.splitlines() if line.strip()]
    return []


def diagnose() -> Diagnosis:
    """Check what `doctor` does, without importing PyTorch."""
    variables = {name: value for name, value in sorted(os.environ.items()) if name.startswith("MIEN_")}
    found = Diagnosis(settings=variables | ({"MIEN_TOKEN": "(set)"} if "MIEN_TOKEN" in variables else {}))
    _check_packages(found)
    if not found.works:
        return found
    import numpy as np

    from mien.files import cache_folder
    from mien.inference import classifier, detection

    for name in dict.fromkeys([classifier.DEFAULT_MODEL, *classifier.embedded_models()]):
        found.models[name] = "does not answer"
        with found.check(f"the model {name} does not answer", name == classifier.DEFAULT_MODEL):
            model = classifier.Classifier(name, threads=1)
            start = time.perf_counter()
            model.predict_proba(np.full((1, *model.face_shape), 128, np.uint8))
            found.models[name] = f"answers in {(time.perf_counter() - start) * 1e3:.1f} ms"
            found.providers = model.providers
    found.gpus = nvidia_gpus()
    if found.gpus and "CUDAExecutionProvider" not in found.providers:
        found.advice.append(_TEXTS["gpu"])
    with found.check(necessary=False):
        found.cache = str(cache_folder())
        if not os.access(found.cache, os.W_OK):
            found.advice.append(_TEXTS["cache"].format(cache=found.cache))
    name = "MIEN_DETECTOR" if os.environ.get("MIEN_DETECTOR") else "yunet"
    found.detectors[name] = "does not work"
    with found.check():
        detection.open_detector()
        found.detectors[name] = "works"
    return found
