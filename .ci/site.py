"""Hooks of the documentation site (mkdocs.yml): pages that lie outside docs/, and nothing from the network.

Links on a page are those of the repository, so that they work where it is read as files: `../benchmarks/results/x.md`.
The site mounts these files, and links to them are rewritten; one to a file that is not mounted fails a strict build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
RESULTS = [file for file in sorted((ROOT / "benchmarks/results").iterdir()) if file.suffix in (".md", ".png", ".svg")]
MOUNTED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    **{f"benchmarks/results/{file.name}": f"results/{file.name}" for file in RESULTS},
}
"""Path in the repository to path in the site, of the files outside docs/."""

INSTEAD = {"README.md": "index.md", "train/README.md": "training.md"}
"""Pages of the repository that the site has in another form."""

LINK = re.compile(r"(\]\()([^()\s#:]+)((?:#[^()\s]*)?\))")
FOREIGN = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//[^\"]*|<link\b[^>]*\bhref=\"(?:https?:)?//[^\"]*"
)
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.M | re.S)


def on_files(files: Any, config: Any) -> Any:
    for source, uri in MOUNTED.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with its links to files of the repository as links within the site."""
    sources = {uri: source for source, uri in MOUNTED.items()}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = CODE.split(markdown)
    parts[::2] = [
        LINK.sub(lambda m: f"{m[1]}{in_site(m[2], here, page.file.src_uri)}{m[3]}", text) for text in parts[::2]
    ]
    return "".join(parts)


def in_site(link: str, source: str, uri: str) -> str:
    """A link of the file ``source`` as one of the site's page ``uri``."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    there = {**MOUNTED, **INSTEAD}.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
    return link if there is None else posixpath.relpath(there, posixpath.dirname(uri) or ".")


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuses a page that would load something from elsewhere when it is opened."""
    if found := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads something from elsewhere: {found[0]}")
    return output
