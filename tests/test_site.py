"""The hooks of the documentation site; that it builds without a warning is a stage of `.ci/run` of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("mkdocs", reason="the docs extra is not installed (make docs)")

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site, docstrings = load("site"), load("docstrings")


def page(uri: str) -> Any:
    return SimpleNamespace(file=SimpleNamespace(src_uri=uri))


@pytest.mark.parametrize(
    ("uri", "link", "expected"),
    [
        ("agents.md", "../benchmarks/results/worlds.md", "results/worlds.md"),
        ("adapters/README.md", "../../README.md", "../index.md"),
        ("adapters/trl.md", "../reward.md#parts", "../reward.md#parts"),
        ("contributing.md", "docs/adapters/README.md", "adapters/README.md"),
        ("results/worlds.md", "worlds.svg", "worlds.svg"),
        ("agents.md", "../mtr_env/env.py", "../mtr_env/env.py"),  # not mounted: the strict build refuses it
        ("agents.md", "https://arxiv.org/abs/2510.06825", "https://arxiv.org/abs/2510.06825"),
    ],
)
def test_a_link_of_the_repository_leads_to_the_same_page_of_the_site(uri: str, link: str, expected: str) -> None:
    assert site.on_page_markdown(f"See [it]({link}).", page(uri)) == f"See [it]({expected})."


def test_links_in_code_are_left_as_they_are() -> None:
    text = "`[a](../README.md)`\n\n```python\n# [a](../README.md)\n```\n"
    assert site.on_page_markdown(text, page("agents.md")) == text


def test_every_table_of_results_has_a_page() -> None:
    tables = {path.name for path in (ROOT / "benchmarks/results").glob("*.md")}
    assert tables == {
        Path(uri).name for uri in site.MOUNTED.values() if uri.startswith("results/") and uri.endswith("md")
    }


@pytest.mark.parametrize(
    "html",
    [
        '<script async src="https://cdn.example/x.js"></script>',
        '<img alt="" src="//img.example/badge.svg">',
        '<link rel="stylesheet" href="https://fonts.example/css">',
    ],
)
def test_a_page_that_would_load_something_from_elsewhere_is_refused(html: str) -> None:
    from mkdocs.exceptions import PluginError

    with pytest.raises(PluginError, match=r"index\.md loads something from elsewhere"):
        site.on_post_page(html, page("index.md"))


def test_a_page_may_link_elsewhere() -> None:
    html = '<a href="https://arxiv.org">paper</a><script src="assets/x.js"></script><link href="a.css">'
    assert site.on_post_page(html, page("index.md")) == html


def test_roles_become_references_where_their_names_are_resolved_and_doctests_code() -> None:
    import griffe

    source = '''
class Trace:
    """See :func:`score`, :class:`~mtr_env.tool.Toolset` and :meth:`nowhere`.

    >>> 1 + 1
    2
    """

def score(): ...
'''
    extensions = griffe.load_extensions(docstrings.Docstrings)
    with griffe.temporary_visited_package("sample", {"__init__.py": source}, extensions=extensions) as package:
        text = package["Trace"].docstring.value
    assert '<autoref optional identifier="sample.score"><code>score</code></autoref>' in text
    assert '<autoref optional identifier="mtr_env.tool.Toolset"><code>Toolset</code></autoref>' in text
    assert '<autoref optional identifier="nowhere"><code>nowhere</code></autoref>' in text
    assert "```pycon\n>>> 1 + 1\n2\n```" in text
