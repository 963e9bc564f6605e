"""The command line: `mien VERB ...`. Knows no torch; each verb is a function of `mien.verbs` or `mien.inference`."""

import difflib
import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from mien._version import __version__
from mien.arguments import make_parser, overview, parse
from mien.commands import measuring, predicting, sharing, training
from mien.errors import MienError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_SUCH_PLACE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: what follows `mien` on the command line; taken from there, if not given.

    Returns:
        0 done, 1 done but some inputs failed, 2 the user's mistake, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except MienError as mistake:
        return _complain(str(mistake))
    except KeyboardInterrupt:
        again = "" if any(word.startswith("--resume") for word in arguments) else " with --resume"
        _complain("stopped" + (f" (the same command{again} goes on)" if arguments[:1] == ["train"] else ""))
        return 130
    except BrokenPipeError:
        # whoever read our output has closed it, as `head` does; Python must not complain of it at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:
        where = f" ({problem.filename})" if problem.filename else ""
        if problem.errno in FULL_DISK:
            again = "the same command with --resume goes on" if arguments[:1] == ["train"] else "run the same again"
            return _complain(f"The disk is full{where}; free some space, then {again}.")
        if problem.errno in NO_SUCH_PLACE:
            return _complain(
                f"A file cannot be written or read{where}: {os.strerror(problem.errno or 0)}; choose another path."
            )
        raise


def program() -> NoReturn:
    """Run one verb as the program `mien`, which ends with its status even where a thread still reads.

    Such a thread may wait for input that never comes, and Python would end it in the middle of OpenCV's code, which aborts.
    """
    status = main()
    if any(thread.daemon and thread.name.startswith("mien-") for thread in threading.enumerate()):
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _complain(sentence: str) -> int:
    print(f"mien: {sentence}", file=sys.stderr)
    return 2


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"] and arguments[1:2]:
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(VERBS))
        return 0
    if arguments[0] in ("--version", "-V"):
        print(f"mien {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1)
        near = [f"mien predict {name}"] if not near and Path(name).exists() else near
        raise MienError(
            f"There is no verb {name!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}.")
        )
    return VERBS[name](rest)


def _demo(arguments: list[str]) -> int:
    """Show the whole way on drawn faces, in about two minutes: mien demo [--out DIR]."""
    from mien.verbs.demo import demo

    parser = make_parser("demo", "[--out DIR]")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="the folder to make; an earlier demo there is replaced")
    return demo(parse(parser, arguments).out, _run)


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": training.train,
    "evaluate": measuring.evaluate,
    "predict": predicting.predict,
    "explain": sharing.explain,
    "audit": measuring.audit,
    "compare": measuring.compare,
    "quantize": training.quantize,
    "recipes": training.recipes,
    "models": predicting.models,
    "push": sharing.push,
    "doctor": sharing.doctor,
    "demo": _demo,
}


if __name__ == "__main__":
    program()
