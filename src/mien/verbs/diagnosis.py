"""What `mien doctor` found, as text and as JSON."""

import json
import platform
import sys
import textwrap
from dataclasses import asdict, dataclass, field

from mien._version import __version__
from mien.verbs.installed import ON_REQUEST, version


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
