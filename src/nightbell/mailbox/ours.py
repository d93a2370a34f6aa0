"""Which telephone numbers are our own: those that callers dial, and those that practices show."""

from __future__ import annotations

from collections.abc import Collection

from nightbell.mailbox.models import Number
from nightbell.mailbox.rules import digits
from nightbell.people import contacts
from nightbell.people.models import Practice


def watch() -> None:
    """Be asked by the room below, too."""
    contacts.is_ours = is_ours


def among(numbers: Collection[str]) -> set[str]:
    """Of these numbers, however they are written, those that a line or a practice of this installation has, as digits."""
    asked = {plain for plain in map(digits, numbers) if plain}
    if not asked:
        return set()
    spelt = asked | {f"1{plain}" for plain in asked if len(plain) == 10}
    dialled = Number.objects.filter(pk__in=spelt).values_list("dialled", flat=True)
    shown = Practice.objects.exclude(number="").values_list("number", flat=True)
    return asked & {digits(one) for one in (*dialled, *shown)}


def is_ours(number: str) -> bool:
    return bool(among([number]))
