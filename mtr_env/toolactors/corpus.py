"""A collection of titled texts to search instead of a question's own paragraphs (``corpus=``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from mtr_env.errors import DatasetError
from mtr_env.extras import install
from mtr_env.question import View
from mtr_env.sentences import split_sentences
from mtr_env.text import fold, name_key
from mtr_env.toolactors.pages import Hit, Lookup, Page, Sentence


class Document(Struct, frozen=True, forbid_unknown_fields=False):
    """A line of a corpus file."""

    title: str
    text: str


class Corpus:
    """Documents searched with BM25 (``bm25s``, extra ``data``). Immutable, shared by all questions.

    A file is JSON Lines of ``{"title": ..., "text": ...}``; a text that begins with its title on a line of its own (the
    layout of wiki-18 dumps) loses that line. Raises :class:`~mtr_env.errors.DatasetError` that names file and line.
    """

    def __init__(self, documents: Sequence[Document], name: str = "corpus") -> None:
        if not documents:
            raise DatasetError(f"{name}: expected at least one document, found none.")
        if find_spec("bm25s") is None:  # now, and not as an outage at the first search
            raise ImportError(f"Searching a corpus needs bm25s, which is not installed: {install('data')}.")
        self.name = name
        self.documents = documents
        digest = blake2b(digest_size=8)
        for document in documents:
            digest.update(msgspec.json.encode(document))
        self.fingerprint = digest.hexdigest()
        self._titles: dict[str, list[int]] = {}
        for i, document in enumerate(documents):
            for key in {fold(document.title), name_key(document.title)}:
                self._titles.setdefault(key, []).append(i)
        self._index: Any = None

    def __deepcopy__(self, memo: object) -> Corpus:
        return self

    def __reduce__(self) -> tuple[type[Corpus], tuple[Sequence[Document], str]]:
        return Corpus, (self.documents, self.name)

    def __len__(self) -> int:
        return len(self.documents)

    @classmethod
    def of(cls, corpus: str | os.PathLike[str] | Corpus) -> Corpus:
        """A corpus, read from a file if need be."""
        return corpus if isinstance(corpus, Corpus) else cls.read(corpus)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Corpus:
        """Reads a JSON Lines file; every bad line is an error, none is skipped."""
        shown, file = os.fspath(path), Path(path)
        if not file.is_file():
            raise DatasetError(f"{shown}: there is no such corpus file.")
        decode = msgspec.json.Decoder(Document).decode
        documents, bad = [], []
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    document = decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    bad.append(f"line {number}: {error}")
                    continue
                if document.title.strip() and document.text.strip():
                    documents.append(document)
                else:
                    bad.append(f"line {number}: title or text is empty")
        if bad:
            raise DatasetError(
                f'{shown}: expected {{"title": text, "text": text}} on every line; found {len(bad)} bad and '
                f"{len(documents)} good lines. {'; '.join(bad[:5])}."
            )
        return cls(documents, os.path.basename(shown))

    def search(self, query: str, k: int) -> list[int]:
        """The indices of at most ``k`` documents that share a word with the query, best first."""
        words = fold(query).split()
        index, vocabulary = self._bm25()
        known = [vocabulary[word] for word in words if word in vocabulary]
        if not known:
            return []
        # Tokens are given as ids of our own vocabulary, so that words are folded as everywhere else here. The best are
        # picked here too: bm25s leaves the order of equal scores to the numerical library that it finds.
        scores = index.get_scores(known).round(6)
        found = np.flatnonzero(scores >= np.partition(scores, -k)[-k]) if k < len(self) else np.arange(len(self))
        best = sorted(found.tolist(), key=lambda i: (-scores[i], i))[:k]
        return [i for i in best if scores[i] > 0]

    def _bm25(self) -> tuple[Any, dict[str, int]]:
        if self._index is None:
            import bm25s

            vocabulary: dict[str, int] = {}
            ids = [
                [vocabulary.setdefault(word, len(vocabulary)) for word in fold(f"{d.title} {d.text}").split()]
                for d in self.documents
            ]
            index = bm25s.BM25()
            index.index((ids, vocabulary), show_progress=False)
            self._index = index, vocabulary
        return self._index  # type: ignore[no-any-return]

    def titled(self, title: str) -> list[int]:
        """The documents with this title; without its trailing parenthesis, if need be."""
        return self._titles.get(fold(title)) or self._titles.get(name_key(title)) or []


class CorpusPages:
    """A corpus as one question sees it: a sentence that the question's own paragraphs hold too keeps its reference
    there, so that reading it counts as evidence; any other has a reference into the corpus."""

    def __init__(self, corpus: Corpus, view: View) -> None:
        self._corpus = corpus
        self._own: dict[tuple[str, str], str] = {}
        for i, paragraph in enumerate(view.paragraphs):
            title = fold(paragraph.title)
            self._own.setdefault((title, ""), f"p{i}")  # paragraphs may share a title: as in Pages, the first counts
            for j, sentence in enumerate(paragraph.sentences):
                self._own.setdefault((title, fold(sentence)), f"p{i}s{j}")

    def search(self, query: str, k: int) -> list[Hit]:
        """See :meth:`~mtr_env.toolactors.pages.Pages.search`."""
        return [Hit.of(self._page([i])) for i in self._corpus.search(query, k)]

    def find(self, title: str) -> Lookup:
        """All documents with this title, as one page."""
        found = self._corpus.titled(title)
        titles: dict[str, list[int]] = {}
        for i in found:
            titles.setdefault(self._corpus.documents[i].title, []).append(i)
        return Lookup(tuple(self._page(documents) for documents in titles.values()))

    def _page(self, indices: Iterable[int]) -> Page:
        sentences: list[Sentence] = []
        title = ref = ""
        for i in indices:
            document = self._corpus.documents[i]
            title, key = document.title, fold(document.title)
            ref = ref or self._own.get((key, ""), f"c{i}")
            head, _, rest = document.text.partition("\n")
            text = rest if head.strip().strip('"') == title.strip().strip('"') and rest.strip() else document.text
            for j, sentence in enumerate(split_sentences(text)):
                sentences.append(Sentence(sentence, self._own.get((key, fold(sentence)), f"c{i}s{j}")))
        return Page(title, ref, tuple(sentences))
