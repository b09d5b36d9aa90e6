"""The pages of a question: its paragraphs, found by title, by search and by the facts they state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from mtr_env.question import View
from mtr_env.text import contains_words, fold, name_key
from mtr_env.toolactors.bm25 import BM25


class Sentence(NamedTuple):
    """A sentence and its reference."""

    text: str
    ref: str


class Page(NamedTuple):
    """Everything under one title. ``ref`` is the title's reference; data sets may split a page into paragraphs."""

    title: str
    ref: str
    sentences: tuple[Sentence, ...]

    @property
    def lead(self) -> Sentence:
        """The first sentence, which search shows."""
        return self.sentences[0]

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join([sentence.text for sentence in self.sentences])


class Hit(NamedTuple):
    """A page as search shows it, and the references of what is shown. The value is shared by all responses."""

    value: dict[str, Any]
    refs: tuple[str, str]

    @classmethod
    def of(cls, page: Page) -> Hit:
        """The page's title and first sentence."""
        return cls({"title": page.title, "snippet": page.lead.text}, (page.ref, page.lead.ref))


class Lookup(NamedTuple):
    """What a name resolved to: the pages it names, or else the titles that contain it."""

    pages: tuple[Page, ...]
    similar: tuple[Page, ...] = ()


class Pages:
    """The pages of one question with the indexes over them, each built when it is first needed."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self.pages = tuple(pages)
        self._search: BM25 | None = None
        self._hits = [Hit.of(page) for page in self.pages]
        self._by_title: dict[str, tuple[Page, ...]] = {}
        self._by_key: dict[str, tuple[Page, ...]] = {}
        for page in self.pages:
            for table, key in ((self._by_title, fold(page.title)), (self._by_key, name_key(page.title))):
                table[key] = (*table.get(key, ()), page)

    @classmethod
    def of(cls, view: View) -> Pages:
        """The pages of a question's own paragraphs; paragraphs with one title are one page."""
        titles: dict[str, tuple[str, list[Sentence]]] = {}
        for i, paragraph in enumerate(view.paragraphs):
            _, sentences = titles.setdefault(paragraph.title, (f"p{i}", []))
            sentences += [Sentence(text, f"p{i}s{j}") for j, text in enumerate(paragraph.sentences)]
        return cls(Page(title, ref, tuple(sentences)) for title, (ref, sentences) in titles.items())

    def search(self, query: str, k: int) -> list[Hit]:
        """At most ``k`` pages that share a word with the query, best first."""
        if self._search is None:
            self._search = BM25([f"{page.title} {page.text}" for page in self.pages])
        return [self._hits[i] for i in self._search.search(query, k)]

    def find(self, title: str) -> Lookup:
        """The page with this title; without its trailing parenthesis, if need be; else the titles that contain it."""
        folded = fold(title)
        found = self._by_title.get(folded) or self._by_key.get(name_key(title)) or self._by_key.get(folded)
        if found or not folded:
            return Lookup(found or ())
        return Lookup((), tuple([p for p in self.pages if contains_words(fold(p.title), folded)][:5]))
