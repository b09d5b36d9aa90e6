"""The package's extras: how one is installed, and the error that says so where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_OF_THEIR_OWN = ("gem", "verifiers", "verl")  # environments, as they do not resolve with the others


def install(extra: str) -> str:
    """The command that installs an extra with the tested versions.

    >>> install("data")
    "pip install -c constraints.txt -e '.[data]', in a clone of mtr-env"
    """
    constraints = f"constraints-{extra}.txt" if extra in _OF_THEIR_OWN else "constraints.txt"
    return f"pip install -c {constraints} -e '.[{extra}]', in a clone of mtr-env"


@contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """Around imports of an extra's packages: where one is missing, ``ModuleNotFoundError`` says what needs it, and how
    to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{what} needs {error.name}, which is not installed: {install(extra)}."
        raise ModuleNotFoundError(message, name=error.name) from error
