"""Diagnosing: whether mien works here, with what, and what is missing."""

import hashlib
import os
import platform
import re
import time
from importlib import import_module
from pathlib import Path

from mien.errors import MienError
from mien.verbs.diagnosis import Check, Diagnosis
from mien.verbs.installed import ON_REQUEST, PLAIN, nvidia_gpus, packages_by_extra, rivals, torch_accelerator, version

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
    from mien.inference.haar import Haar

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
    from mien.cache import cache_folder
    from mien.inference import yunet

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
    from mien.cache import cache_folder

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
