"""How long `mien` takes to start, and how much memory, beside a Python that does nothing.

    python benchmarks/startup.py [PHOTO] [--runs 10]

Every verb's --help, and `mien predict PHOTO` where a photo is given, each as a whole process. The figures are medians, and
ratios to `python -c pass` taken in the same rounds, so that machines can be compared.
"""

import argparse
import os
import subprocess
import sys
import time

MIEN = [sys.executable, "-c", "import sys; from mien.cli import main; sys.exit(main())"]
"""What the installed script `mien` does."""

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Start-up is measured, as it is lived with, with bytecode."""


def run(command: list[str]) -> tuple[float, float]:
    """Run a command to its end.

    Returns:
        Its seconds, and its peak of memory in MB.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit {process.returncode}; run it to see why: {subprocess.list2cmdline(command)}")
    return seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Run every command in turn, round by round, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", help="a photo for `mien predict`; left out, if not given")
    parser.add_argument("--runs", type=int, default=10, help="rounds (default 10)")
    arguments = parser.parse_args()

    asked = "from mien.cli import VERBS; print(*VERBS)"
    verbs = subprocess.run([sys.executable, "-c", asked], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True).stdout
    commands = {"python -c pass": [sys.executable, "-c", "pass"], "mien --help": [*MIEN, "--help"]}
    commands |= {f"mien {verb} --help": [*MIEN, verb, "--help"] for verb in verbs.split()}
    if arguments.photo:
        commands["mien predict PHOTO"] = [*MIEN, "predict", arguments.photo]

    for command in commands.values():
        run(command)  # writes bytecode, and brings files into memory
    rounds = [{name: run(command) for name, command in commands.items()} for _ in range(arguments.runs)]

    from statistics import median  # here, for Linux counts a parent's peak as the least of its child's

    print(f"{'':<22}{'seconds':>9}{'ratio':>8}{'peak MB':>10}{'ratio':>8}")
    for name in commands:
        seconds, memory = (median(one[name][i] for one in rounds) for i in range(2))
        ratios = [median(one[name][i] / one["python -c pass"][i] for one in rounds) for i in range(2)]
        print(f"{name:<22}{seconds:>9.3f}{ratios[0]:>7.1f}x{memory:>10.0f}{ratios[1]:>7.1f}x")


if __name__ == "__main__":
    main()
