"""What PyInstaller puts into a program that uses mien; its entry point in pyproject.toml leads here."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Return the folders of the hooks."""
    return [str(Path(__file__).parent)]
