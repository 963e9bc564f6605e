"""Mutants of files in eight formats, by the harness in fuzz.py."""

import os

import pytest

from fuzz import SOURCES, fuzz

MUTANTS = int(os.environ.get("MIEN_FUZZ_MUTANTS", "80"))
"""Of each format; SECURITY.md has the command for more."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_mutants_are_answered_or_refused_in_a_sentence(kind, tmp_path):
    read, row, faults = fuzz(kind, tmp_path, MUTANTS, 300, seed=1, keep=tmp_path / "faults")
    assert not faults, "\n".join([row, *faults])
    assert read == MUTANTS
