"""The optional parts, and how to get them."""

from mien.errors import MienError


def require(extra: str, *modules: str) -> None:
    """Make sure that an optional part is installed.

    Raises:
        MienError: if one of its modules is missing; the sentence says which extra brings it.
    """
    from importlib.util import find_spec

    if missing := [name for name in modules if find_spec(name) is None]:
        raise MienError(f"Not installed, and needed for this: {', '.join(missing)}; run: pip install 'mien[{extra}]'")
