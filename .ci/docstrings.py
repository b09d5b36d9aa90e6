"""Docstrings as Markdown for the documentation site: what a role names is linked, and doctests are code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, NameResolutionError, Object

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`")
DOCTEST = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.M)


class Docstrings(Extension):
    """Rewrites each docstring; a role whose place is not on the site stays code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = ROLE.sub(lambda match: link(match, obj), obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", text)


def link(match: re.Match[str], obj: Object) -> str:
    """A role such as ``:class:`~mtr_env.trace.Trace``` as a reference that the site resolves if it can."""
    short, name = match[1] == "~", match[2]
    text = name.rpartition(".")[2] if short else name
    return f'<autoref optional identifier="{path(name, obj)}"><code>{text}</code></autoref>'


def path(name: str, obj: Object) -> str:
    """The full path of a name as it is meant where ``obj`` is defined."""
    if name.startswith("mtr_env."):
        return name
    try:
        return obj.resolve(name)
    except NameResolutionError:
        return name
