"""Calculation and dates: exact, without ``eval``, and every other text is an error that says why."""

from __future__ import annotations

import contextlib
import time
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtr_env.grammar import to_json
from mtr_env.toolactors.compute import MAX_EXPRESSION, MAX_PARENTHESES, Date, calculate, compare_dates, parse_date

# ---------------------------------------------------------------------------------------------------------- calculate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1987 - 1954", 33),
        (" 2+3*4 ", 14),
        ("(2+3)*4", 20),
        ("2-3-4", -5),
        ("100/10/5", 2),
        ("-3 - -4", 1),
        ("--3", 3),
        ("2*-3", -6),
        ("-(1+2)", -3),
        ("1,200 + 300", 1500),
        ("12,345,678.5*2", 24691357),
        (".5 + .25", 0.75),
        ("0.1 + 0.2", 0.3),
        ("1/3", 0.333333),
        ("2/3", 0.666667),
        ("6/3", 2),
        ("0/5", 0),
        ("007", 7),
        ("1/3*3", 1),
        ("9" * 99 + "*" + "9" * 99, int("9" * 99) ** 2),
    ],
)
def test_arithmetic_is_exact(expression: str, value: float) -> None:
    found = calculate(expression)
    assert found == value
    assert type(found) is type(value)
    assert to_json(found) == to_json(value)


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("", "ends where a number was expected"),
        ("   ", "ends where a number was expected"),
        ("1 +", "ends where a number was expected"),
        ("(", "ends where a number was expected"),
        ("(1", "not closed"),
        ("(1 2)", "not closed"),
        ("1)", "Expected an operator"),
        ("1 2", "Expected an operator"),
        ("1.2.3", "Expected an operator"),
        ("()", "Expected a number"),
        ("* 2", "Expected a number"),
        ("1 ++ 2", "Expected a number"),
        ("1 // 2", "Expected a number"),
        ("2 ** 3", "Expected a number"),
        ("1/0", "Division by zero"),
        ("1/(2-2)", "Division by zero"),
        ("2 ^ 3", "found '^'"),
        ("5 % 2", "found '%'"),
        ("1e5", "found 'e'"),
        ("0x10", "found 'x'"),
        ("1_000", "found '_'"),
        ("1j", "found 'j'"),
        ("abs(1)", "found 'a'"),
        ("(1).real", "found '.'"),
        ("().__class__", "found '.'"),
        ("__import__('os').system('id')", "found '_'"),
        ("1 if 1 else 2", "found 'i'"),
        ("lambda: 1", "found 'l'"),
        ("1;2", "found ';'"),
        ("1\x002", "found '\\x00'"),
        ("٣ + ٤", "found '٣'"),
        ("１", "found '１'"),
        ("½", "found '½'"),
        ("5 − 3", "found '−'"),
        ("9" * (MAX_EXPRESSION + 1), "longer than 200 characters"),
        ("(" * (MAX_PARENTHESES + 1) + "1" + ")" * (MAX_PARENTHESES + 1), "more than 50 parentheses"),
    ],
)  # fmt: skip
def test_anything_else_is_an_error_that_says_why(expression: str, part: str) -> None:
    with pytest.raises(ValueError) as caught:
        calculate(expression)
    assert part in str(caught.value)
    assert str(caught.value).endswith(".")


def test_long_nests_and_signs_are_computed_within_the_limits() -> None:
    assert calculate("(" * MAX_PARENTHESES + "1" + ")" * MAX_PARENTHESES) == 1
    assert calculate("-" * (MAX_EXPRESSION - 1) + "1") == -1
    assert calculate("1" + "-1" * 99) == -98


@given(st.text("0123456789.,+-*/() eE_x^%", max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_expression_is_a_finite_number_or_a_value_error(expression: str) -> None:
    try:
        value = calculate(expression)
    except ValueError:
        return
    assert abs(value) < float("inf")


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for function in (calculate, parse_date):
        try:
            function(text)
        except ValueError as error:
            assert str(error)


def trees() -> st.SearchStrategy[str]:
    numbers = st.integers(0, 999).map(str) | st.decimals(0, 9, places=2, allow_nan=False).map(str)
    return st.recursive(
        numbers,
        lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        max_leaves=6,
    )


class Exact(Fraction):
    """Lets Python's own parser be the reference: numbers of an expression become fractions."""


@given(trees())
@settings(max_examples=300, deadline=None)
def test_values_agree_with_pythons_own_arithmetic_on_fractions(expression: str) -> None:
    import re

    source = re.sub(r"\d+(\.\d+)?", lambda m: f"Exact('{m[0]}')", expression)
    names: dict[str, Any] = {"Exact": Exact}
    try:
        wanted = eval(source, names)  # a string that this test made
    except ZeroDivisionError:
        with pytest.raises(ValueError, match="Division by zero"):
            calculate(expression)
        return
    assert calculate(expression) == pytest.approx(float(wanted), abs=1e-6, rel=1e-9)


def test_no_expression_takes_long() -> None:
    start = time.perf_counter()
    for expression in (
        "9" * 98 + "/" + "7" * 98,
        "(" * 10**6,
        "9" * 10**6,
        "1" + "/7" * 99,
        "9*" * 99 + "9",
        " " * 10**6 + "1",
    ):
        with contextlib.suppress(ValueError):
            calculate(expression)
    assert time.perf_counter() - start < 0.5


# -------------------------------------------------------------------------------------------------------------- dates


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("30 July 1970", Date(1970, 7, 30)),
        ("July 30, 1970", Date(1970, 7, 30)),
        ("the", None),
        ("30th of July, 1970", Date(1970, 7, 30)),
        (" 1 SEPT 1970 ", Date(1970, 9, 1)),
        ("July 1970", Date(1970, 7)),
        ("1970", Date(1970)),
        ("1970-07-30", Date(1970, 7, 30)),
        ("1970-7-3", Date(1970, 7, 3)),
        ("AD 79", Date(79)),
        ("29 February 2000", Date(2000, 2, 29)),
        ("29 February 1900", None),
        ("31 April 1970", None),
        ("1970-13-01", None),
        ("0", None),
        ("12345", None),
        ("99999999999999999999", None),
        ("44 BC", None),
        ("", None),
        ("yesterday", None),
        ("1 2 3", None),
        ("30 7 1970", None),
        ("1970 to 1980", None),
        ("May", None),
        ("Prague 1970", None),
        ("１９７０", None),
    ],
)  # fmt: skip
def test_dates_are_read_as_they_stand_in_text(text: str, parsed: Date | None) -> None:
    if parsed is not None:
        assert parse_date(text) == parsed
        return
    with pytest.raises(ValueError, match=r"^(Expected a date such as|There is no such date: )"):
        parse_date(text)


@given(st.dates(date(1000, 1, 1)), st.dates(date(1000, 1, 1)))
@settings(max_examples=300, deadline=None)
def test_exact_dates_compare_as_the_calendar_does(a: date, b: date) -> None:
    found = compare_dates(a.isoformat(), f"{b.day} {b:%B} {b.year}")
    assert found.earlier == ("same" if a == b else "first" if a < b else "second")
    assert found.days == abs((a - b).days)
    early, late = min(a, b), max(a, b)
    assert found.years == late.year - early.year - ((late.month, late.day) < (early.month, early.day))
    assert compare_dates(b.isoformat(), a.isoformat())[1:] == found[1:]


def test_partial_dates_compare_as_far_as_both_are_known() -> None:
    assert compare_dates("30 July 1970", "1988") == ("first", 18, None)
    assert compare_dates("1970", "30 July 1970") == ("same", 0, None)
    assert compare_dates("August 1970", "30 July 1970") == ("second", 0, None)
    assert compare_dates("July 1970", "30 July 1970") == ("same", 0, None)
    assert compare_dates("December 1969", "January 1970") == ("first", 1, None)


def test_whole_years_are_birthdays() -> None:
    born = date(1970, 7, 30)
    for day, years in ((date(1988, 7, 29), 17), (date(1988, 7, 30), 18)):
        assert compare_dates(born.isoformat(), day.isoformat()).years == years
    assert compare_dates("1970-01-01", (date(1970, 1, 1) + timedelta(1000)).isoformat()).days == 1000


def test_a_date_that_cannot_be_read_is_an_error_on_either_side() -> None:
    for pair in (("x", "1970"), ("1970", "x"), ("1970-00-15", "1971-01-01")):
        with pytest.raises(ValueError):
            compare_dates(*pair)
