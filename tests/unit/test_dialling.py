"""Which numbers are dialled: none that pays whoever is called, in the countries whose plans are known."""

from __future__ import annotations

import pytest

from nightbell.core.dialling import allowed, e164

DEAR = [
    "+19005550142", "+12129765550", "+449098790123", "+448712345678", "+447012345678", "+4990012345678",
    "+491377123456", "+4918012345678", "+34803123456", "+34905123456", "+33899123456", "+33826123456", "+39899123456",
    "+31900123456", "+3290212345", "+41900123456", "+43900123456", "+351760123456", "+3531520912345", "+46900123456",
    "+4782012345", "+4590123456", "+358600123456", "+48701234567", "+420900123456", "+61190012345", "+64900123456",
    "+529001234567", "+55900123456", "+35290112345",
]  # fmt: skip
USUAL = [
    "+16175550142", "+442079460000", "+447400123456", "+4930123456", "+4915112345678", "+34612345678", "+33612345678",
    "+33801234567", "+390612345678", "+393123456789", "+31201234567", "+3292123456", "+41441234567", "+4311234567",
    "+351912345678", "+35315241234", "+46901234567", "+46935123456", "+4722123456", "+4532123456", "+358401234567",
    "+48221234567", "+420212345678", "+61290123456", "+6493123456", "+525512345678", "+5511912345678", "+352901234",
]  # fmt: skip


@pytest.mark.parametrize("number", DEAR)
def test_a_number_that_charges_whoever_rings_it_is_none(number: str) -> None:
    assert e164(number) == ""
    assert not allowed(number, number), "nor one that was kept before it was known"


@pytest.mark.parametrize("number", USUAL)
def test_people_s_numbers_are_dialled_at_home(number: str) -> None:
    assert e164(number) == number
    assert allowed(number, number)


def test_a_practice_that_has_such_a_number_itself_is_still_in_its_country() -> None:
    assert allowed("+442079460000", "+448451234567") and not allowed("+16175550142", "+448451234567")
