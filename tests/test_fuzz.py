"""Mutants of files in eight formats, by the harness in fuzz.py: a second of machine time per 10 to 40 mutants."""

import os

import pytest

from fuzz import SOURCES, fuzz

SECONDS = float(os.environ.get("MIEN_FUZZ_SECONDS", "7"))
"""For each format in the quick tests."""
MUTANTS = 625
"""Of each format in the slow tests: 5,000 in all."""


def check(kind, folder, count, seconds, seed):
    read, row, faults = fuzz(kind, folder, count, seconds, seed, folder / "faults")
    assert not faults, "\n".join([row, *faults])
    return read


@pytest.mark.parametrize("kind", SOURCES)
def test_mutants_are_answered_or_refused_in_a_sentence(kind, tmp_path):
    assert check(kind, tmp_path, 10_000, SECONDS, seed=1) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_many_mutants_are_answered_or_refused_in_a_sentence(kind, tmp_path):
    assert check(kind, tmp_path, MUTANTS, 300, seed=2) == MUTANTS
