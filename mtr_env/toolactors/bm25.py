"""BM25 within one question: a small inverted index, built when the first search comes."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from mtr_env.text import fold, folded_words

# Words that occur everywhere: leaving them out of a query makes it faster and changes next to nothing.
_STOP_WORDS = frozenset(
    """a an the and or of in on at by for from to with as is are was were be been who whom whose what which when where
    why how did does do has have had that this these those it its he she his her their they""".split()
)
K1, B = 1.2, 0.75
_PRECISION = 2.0**30


class BM25:
    """Okapi BM25 (k1 = 1.2, b = 0.75) over a few texts, searched by folded words.

    >>> index = BM25(["Kolya is a Czech film", "Prague is a city"])
    >>> index.search("which Czech film", 3)
    [0]
    """

    def __init__(self, texts: Sequence[str]) -> None:
        documents = [fold(text).split() for text in texts]
        mean = sum(map(len, documents)) / len(documents) if documents else 1.0
        counts: dict[str, dict[int, int]] = {}
        for i, words in enumerate(documents):
            for word in words:
                posting = counts.setdefault(word, {})
                posting[i] = posting.get(i, 0) + 1
        self._norm = [K1 * (1 - B + B * len(words) / (mean or 1.0)) for words in documents]
        self._counts = counts
        size = len(documents)
        # What the inverse document frequency makes of a word, by the number of texts that have it.
        self._factors = [
            log(1 + (size - n + 0.5) / (n + 0.5)) * (K1 + 1) * _PRECISION if n else 0.0 for n in range(size + 1)
        ]
        self._weights: dict[str, list[tuple[int, float]]] = {}  # of the words that were asked for

    def search(self, query: str, k: int) -> list[int]:
        """The indices of at most ``k`` texts that share a word with the query, best first, ties in text order."""
        words = folded_words(query)
        scores = [0.0] * len(self._norm)
        for word in [w for w in words if w not in _STOP_WORDS] or words:
            weights = self._weights.get(word)
            if weights is None:
                if word not in self._counts:
                    continue
                weights = self._weights[word] = self._weigh(self._counts[word])
            for document, weight in weights:
                scores[document] += weight
        found = [document for document, score in enumerate(scores) if score]
        return sorted(found, key=scores.__getitem__, reverse=True)[:k]  # a stable sort: ties in text order

    def _weigh(self, posting: dict[int, int]) -> list[tuple[int, float]]:
        factor, norm = self._factors[len(posting)], self._norm
        # Whole numbers add up exactly: the order in which words are added never decides between two texts.
        return [(d, factor * tf / (tf + norm[d]) // 1.0) for d, tf in posting.items()]
