"""`python -m mien`, the same as the program `mien`."""

from mien.cli import program

program()
