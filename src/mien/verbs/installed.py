"""What is installed here, by the notes that pip leaves; no package is imported for it."""

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

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
