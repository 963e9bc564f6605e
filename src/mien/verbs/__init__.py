"""The verbs, the same in Python and on the command line: each reads its data, does the work and says what it did."""
