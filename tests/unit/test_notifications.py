"""Nothing of a message can be in a notification: not by its type, and not in ten thousand of them."""

from __future__ import annotations

import random
import re

import pytest

from nightbell.core.ids import new_token
from nightbell.core.notice import NoticeKind, Notification
from nightbell.oncall.notifications import render

FIRST = [
    "Maria",
    "José",
    "Ana",
    "Linh",
    "Ahmed",
    "Siobhán",
    "Bao",
    "Walter",
    "Priya",
    "Denise",
    "Rosa",
    "Chidi",
    "Åsa",
    "Zoë",
    "Tyrone",
    "Olga",
]
LAST = [
    "Gonzalez",
    "Núñez",
    "Okafor",
    "Delgado",
    "Fairweather",
    "Simms",
    "Nair",
    "Tran",
    "O'Brien",
    "Papadakis",
    "Hughes",
    "Castellanos",
]
DRUGS = [
    "lisinopril",
    "metformin",
    "atorvastatin",
    "warfarin",
    "metoprolol",
    "furosemide",
    "albuterol",
    "gabapentin",
    "ozempic",
    "insulin",
]
SIGNS = [
    "chest pain",
    "short of breath",
    "bleeding heavily",
    "fever of 104",
    "passed out",
    "a rash",
    "a headache",
]


def _message(generator: random.Random) -> str:
    number = (
        f"{generator.randrange(200, 999)} {generator.randrange(200, 999)} {generator.randrange(1000, 9999)}"
    )
    born = f"{generator.choice(['March', 'April', 'June'])} {generator.randrange(1, 28)} {generator.randrange(1930, 2024)}"
    return (
        f"{generator.choice(FIRST)} {generator.choice(LAST)} {born} {generator.choice(SIGNS)} "
        f"{generator.choice(DRUGS)} {generator.randrange(5, 900)} milligrams {number}"
    )


def _tokens(text: str) -> set[str]:
    return {
        word.lower()
        for word in re.findall(r"[\w']+", text)
        if len(word) > 2 and word.lower() not in ("the", "for")
    }


def test_ten_thousand_notifications_share_no_token_with_their_message() -> None:
    generator = random.Random(7)
    kinds = list(NoticeKind)
    for i in range(10_000):
        said = _tokens(_message(generator))
        notice = Notification(kinds[i % len(kinds)], "QX07", new_token(), "es" if i % 2 else "en")
        words = render(notice, "https://bell.example")
        told = _tokens(words.subject + " " + words.body.replace(notice.token, ""))
        assert not said & told


@pytest.mark.parametrize(
    "fields",
    [
        ("urgent", "AB12", "x" * 22),
        (NoticeKind.URGENT, "Maria Gonzalez", "x" * 22),
        (NoticeKind.URGENT, "AB12", "call 503 555 0148 now!"),
        (NoticeKind.URGENT, "AB12", "short"),
    ],
)
def test_it_cannot_be_made_with_free_text(fields: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Notification(*fields)  # type: ignore[arg-type]


def test_every_kind_has_words_in_both_languages() -> None:
    for kind in NoticeKind:
        for language in ("en", "es"):
            words = render(Notification(kind, "AB12", "t" * 22, language), "https://bell.example")
            assert "AB12" in words.subject
            assert "https://bell.example/n/" + "t" * 22 in words.body
