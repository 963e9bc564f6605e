"""How long `mien` takes to start, and how much memory, compared with a Python that does nothing.

    python benchmarks/startup.py [PHOTO] [--runs 10]

Every verb's --help, and `mien predict PHOTO`, each a process: medians, and ratios to `python -c pass` in the same rounds.
"""

import os
import subprocess
import sys
import time

from shared import parse

MIEN = [sys.executable, "-c", "import sys; from mien.cli import main; sys.exit(main())"]  # as the installed script does
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def cost(command: list[str]) -> tuple[float, float]:
    """Run a command to its end: its seconds, and its peak of memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"exit {process.returncode}; run it to see why: {subprocess.list2cmdline(command)}")
    return seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    arguments = parse(__doc__, "photo ?", runs=10)
    verbs = subprocess.check_output([sys.executable, "-c", "from mien.cli import VERBS; print(*VERBS)"], text=True).split()
    commands = {"python -c pass": [sys.executable, "-c", "pass"], "mien --help": [*MIEN, "--help"]}
    commands |= {f"mien {verb} --help": [*MIEN, verb, "--help"] for verb in verbs}
    if arguments.photo:
        commands["mien predict PHOTO"] = [*MIEN, "predict", arguments.photo]
    for command in commands.values():
        cost(command)  # writes bytecode, and brings files into memory
    rounds = [{name: cost(command) for name, command in commands.items()} for _ in range(arguments.runs)]

    from statistics import median  # imported late: Linux counts a parent's peak as the least of its child's

    print(f"{'':<22}{'seconds':>9}{'ratio':>8}{'peak MB':>10}{'ratio':>8}")
    for name in commands:
        seconds, memory = (median(each[name][i] for each in rounds) for i in range(2))
        ratios = [median(each[name][i] / each["python -c pass"][i] for each in rounds) for i in range(2)]
        print(f"{name:<22}{seconds:>9.3f}{ratios[0]:>7.1f}x{memory:>10.0f}{ratios[1]:>7.1f}x")
