"""Calculation without ``eval``: arithmetic on numbers and comparison of dates as they stand in text."""

from __future__ import annotations

import re
from datetime import date
from fractions import Fraction
from typing import NamedTuple

MAX_EXPRESSION = 200
MAX_PARENTHESES = 50

_TOKEN = re.compile(r"\s*(?:(\d[\d,]*(?:\.\d+)?|\.\d+)|([-+*/()]))", re.ASCII)


def calculate(expression: str) -> int | float:
    """The value of an arithmetic expression of numbers, ``+ - * /`` and parentheses, computed exactly.

    Thousands separators are fine. The result is an integer where it is one, otherwise rounded to 6 decimals.
    Raises ``ValueError`` with a sentence for anything else, division by zero included.

    >>> calculate("1987 - 1954"), calculate("(1,200 + 300) / 4"), calculate("1/3")
    (33, 375, 0.333333)
    """
    if len(expression) > MAX_EXPRESSION:
        raise ValueError(f"The expression is longer than {MAX_EXPRESSION} characters.")
    if expression.count("(") > MAX_PARENTHESES:
        raise ValueError(f"The expression has more than {MAX_PARENTHESES} parentheses.")
    tokens = _tokens(expression)
    value = _sum(tokens)
    if tokens:
        raise ValueError(f"Expected an operator, found {tokens[-1]!r}.")
    return value.numerator if value.denominator == 1 else round(float(value), 6)


def _tokens(expression: str) -> list[str]:
    """The tokens in reverse order, so that the next one is popped from the end."""
    tokens, at, text = [], 0, expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"Expected a number, an operator or a parenthesis, found {text[at:].lstrip()[:1]!r}.")
        tokens.append(match[1] or match[2])
        at = match.end()
    return tokens[::-1]


def _sum(tokens: list[str]) -> Fraction:
    value = _product(tokens)
    while tokens and tokens[-1] in "+-":
        value = value + _product(tokens) if tokens.pop() == "+" else value - _product(tokens)
    return value


def _product(tokens: list[str]) -> Fraction:
    value = _atom(tokens)
    while tokens and tokens[-1] in "*/":
        if tokens.pop() == "*":
            value *= _atom(tokens)
            continue
        divisor = _atom(tokens)
        if not divisor:
            raise ValueError("Division by zero.")
        value /= divisor
    return value


def _atom(tokens: list[str]) -> Fraction:
    if not tokens:
        raise ValueError("The expression ends where a number was expected.")
    token = tokens.pop()
    if token == "-":
        return -_atom(tokens)
    if token == "(":
        value = _sum(tokens)
        if not tokens or tokens.pop() != ")":
            raise ValueError("A parenthesis is not closed.")
        return value
    if token in "+*/)":
        raise ValueError(f"Expected a number, found {token!r}.")
    return Fraction(token.replace(",", ""))


_MONTHS = {
    name: i
    for i, names in enumerate(
        "january jan|february feb|march mar|april apr|may|june jun|july jul|august aug|september sep sept|october oct|"
        "november nov|december dec".split("|"),
        1,
    )
    for name in names.split()
}
_ISO = re.compile(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})\s*", re.ASCII)
_DATE_WORD = re.compile(r"[a-z]+|\d+", re.ASCII)


class Date(NamedTuple):
    """A date as exact as the text gives it; ``month`` and ``day`` are 0 where unknown."""

    year: int
    month: int = 0
    day: int = 0


def parse_date(text: str) -> Date:
    """A date written as ``30 July 1970``, ``July 30, 1970``, ``July 1970``, ``1970-07-30`` or ``1970``.

    Raises ``ValueError`` with a sentence for any other text.

    >>> parse_date("July 30, 1970"), parse_date("1970")
    (Date(year=1970, month=7, day=30), Date(year=1970, month=0, day=0))
    """
    iso = _ISO.fullmatch(text)
    if iso is not None:
        return _checked(Date(int(iso[1]), int(iso[2]), int(iso[3])))
    words = _DATE_WORD.findall(text[:80].lower())
    month = 0
    numbers = []
    for word in words:
        if word.isdigit():
            numbers.append(int(word[:9]))
        elif word in _MONTHS and not month:
            month = _MONTHS[word]
        elif word not in ("th", "st", "nd", "rd", "of", "ad", "ce"):
            raise ValueError(f"Expected a date such as '30 July 1970' or '1970', found {text[:60]!r}.")
    if len(numbers) == 1 and not (month and numbers[0] <= 31):
        return _checked(Date(numbers[0], month))
    if len(numbers) == 2 and month:
        day, year = numbers
        return _checked(Date(year, month, day))
    raise ValueError(f"Expected a date such as '30 July 1970' or '1970', found {text[:60]!r}.")


def _checked(parsed: Date) -> Date:
    try:
        date(parsed.year, parsed.month if parsed.day else parsed.month or 1, parsed.day or 1)
    except ValueError as error:
        raise ValueError(f"There is no such date: {parsed.year}-{parsed.month}-{parsed.day} ({error}).") from None
    return parsed


class DateComparison(NamedTuple):
    """Which of two dates is earlier (``"first"``, ``"second"`` or ``"same"``) and how far they are apart.

    ``days`` is ``None`` unless both dates are exact to the day; ``years`` counts whole years where both are, and is the
    difference of the two year numbers otherwise.
    """

    earlier: str
    years: int
    days: int | None


def compare_dates(first: str, second: str) -> DateComparison:
    """Compares two dates as far as both are known. Raises ``ValueError`` when one cannot be read.

    >>> compare_dates("30 July 1970", "1988")
    DateComparison(earlier='first', years=18, days=None)
    """
    a, b = parse_date(first), parse_date(second)
    exact = 3 if a.day and b.day else 2 if a.month and b.month else 1
    early, late = sorted((a[:exact], b[:exact]))
    earlier = "same" if early == late else "first" if a[:exact] == early else "second"
    years = late[0] - early[0]
    if exact < 3:
        return DateComparison(earlier, years, None)
    days = (date(*late) - date(*early)).days
    return DateComparison(earlier, years - (late[1:] < early[1:]), days)
