"""What counts as a caller's number."""

from __future__ import annotations

import pytest

from nightbell.sip.caller_id import as_number


@pytest.mark.parametrize(
    ("user", "number"),
    [
        ("5550100", "5550100"),
        ("+15550100123", "+15550100123"),
        ("+1 (555) 010-0.123", "+15550100123"),
        ("5550100;phone-context=example.org", "5550100"),
        ("0119725550100", "0119725550100"),
        ("101", "101"),
    ],
)
def test_it_keeps_what_can_be_dialled(user: str, number: str) -> None:
    assert as_number(user) == number


@pytest.mark.parametrize(
    "user",
    [
        "",
        "anonymous",
        "Restricted",
        "unavailable",
        "bob",
        "call 911",
        "1",
        "+",
        "+12",
        "++15550100",
        "555+0100",
        "*67",
        "5550100#",
        "555\n0100",
        "555\x000100",
        "٥٥٥٠١",
        "5550100\n",
        "\u202e5550100",
        "9" * 19,
        "+" + "9" * 16,
        "9" * 100000,
        "<script>",
        "5550100@h",
    ],
)
def test_it_takes_nothing_else_for_a_number(user: str) -> None:
    assert as_number(user) == ""
