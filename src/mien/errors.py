"""The user's mistake, said in one clear sentence."""


class MienError(Exception):
    """Something only the user can put right: a path, a file, a setting.

    The message says what is wrong and what to do about it. The command line prints it and exits with 2; a bug raises
    anything else and shows its traceback.
    """
