"""The error for mistakes that a user can correct."""


class MienError(Exception):
    """A mistake that only the user can correct: a path, a file, a setting.

    The message says what is wrong and what to do about it. The command line prints it and exits with 2; a bug raises
    any other exception and shows its traceback.
    """
