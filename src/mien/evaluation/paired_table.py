"""Runs measured on the same rows against the first of them: is the difference real?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mien.errors import MienError
from mien.evaluation.markdown import markdown_table
from mien.evaluation.mcnemar import SIGNIFICANT, PairedTest, holm, mcnemar
from mien.evaluation.paired_bootstrap import read_answers


@dataclass(frozen=True)
class ComparedRun:
    """A run against the first one.

    Attributes:
        first: name of the first.
        name: its own.
        test: of the first against it.
        adjusted_p_value: `test`'s by Holm's method, for all runs that are compared with this first one.
    """

    first: str
    name: str
    test: PairedTest
    adjusted_p_value: float

    @property
    def is_real(self) -> bool:
        """Whether the difference is significant, the other comparisons allowed for."""
        return self.adjusted_p_value < SIGNIFICANT


def paired_tests(predictions: Mapping[str, Path]) -> list[ComparedRun]:
    """Test every run against the first.

    Args:
        predictions: predictions.csv by the run's name, all of reports on the same faces.

    Returns:
        A comparison for each run but the first; empty where there are fewer than two.

    Raises:
        MienError: if a file cannot be read, or two have not as many rows.
    """
    if len(predictions) < 2:
        return []
    right = {name: (found := read_answers(path)).truth == found.predicted for name, path in predictions.items()}
    (first, reference), *others = right.items()
    if unequal := [name for name, of_it in others if len(of_it) != len(reference)]:
        raise MienError(
            f"{predictions[first]} and {predictions[unequal[0]]} should be of the same faces, but have {len(reference):,} and "
            f"{len(right[unequal[0]]):,} rows; evaluate both again."
        )
    tests = [mcnemar(reference, of_it) for _, of_it in others]
    adjusted = holm([each.p_value for each in tests])
    return [ComparedRun(first, name, test, p) for (name, _), test, p in zip(others, tests, adjusted, strict=True)]


def paired_table(compared: list[ComparedRun]) -> str:
    """Write the comparisons with one run as Markdown: a sentence on what is tested, then a row for each.

    Args:
        compared: as `paired_tests` gives them, at least one.
    """
    return f"{what_is_tested(compared)}\n\n{markdown_table(paired_rows(compared))}"


def what_is_tested(compared: list[ComparedRun]) -> str:
    """Say in a sentence what the tests of `compared` ask, and how."""
    first = compared[0].first
    several = "; adjusted by Holm's method for being several" if len(compared) > 1 else ""
    return f"Is the difference from {first} real? McNemar's exact test on the same faces{several}; intervals by Newcombe."


def paired_rows(compared: list[ComparedRun]) -> list[list[str]]:
    """Write the comparisons with one run as rows of text, the header first."""
    first = compared[0].first
    header = ["against " + first, f"only {first} right", "only this right", "difference, 95% interval", "p", "is it real?"]
    rows = [
        [
            each.name,
            f"{each.test.only_first:,}",
            f"{each.test.only_second:,}",
            f"{_points(each.test.difference)} points, {_points(each.test.low)} to {_points(each.test.high)}",
            "below 0.001" if each.adjusted_p_value < 0.001 else f"{each.adjusted_p_value:.3f}",
            verdict(each),
        ]
        for each in compared
    ]
    return [header, *rows]


def verdict(compared: ComparedRun) -> str:
    """Say in one sentence whether the difference is real."""
    first, name, test = compared.first, compared.name, compared.test
    alone = test.only_first + test.only_second
    if not alone:
        return f"There is none: {name} and {first} are right on the same faces."
    if not compared.is_real:
        reach = max(abs(test.low), abs(test.high))
        return f"It cannot be told: {name} and {first} could be equally good, or differ by up to {100 * reach:.1f} points."
    better = name if test.difference > 0 else first
    more = max(test.only_first, test.only_second)
    return f"Yes, {better} is better: it is the one that is right on {more:,} of the {alone:,} faces where only one of them is."


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
