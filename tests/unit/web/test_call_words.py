"""Words for what a call flow knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.web.test_text import NOW, ZONE, row

from nightbell.mailbox.values import PartView
from nightbell.web.present import call_tags, no_words, part_chips, reached_words


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("", "before the tone"),
        ("first", "during the first words"),
        ("greeting", "during the greeting"),
        ("menu", "at the menu"),
        ("menu-again", "at the menu"),
        ("no-key", "at the menu"),
        ("urgent.free-urgent", "before the tone"),
        ("notice", "before the tone"),
        ("record-now", "before the tone"),
        ("callback-enter.guided", "while giving the number"),
        ("status-none", "while asking how far the message is"),
        ("ask-name.guided", "at the questions"),
        ("take-dob.guided", "after the tone"),
        ("retake", "after the tone"),
        ("silence-end", "after the tone, without a word"),
        ("review", "after the message"),
        ("choosing", "at the menu"),
        ("a-node-of-tomorrow", "before the tone"),
    ],
)
def test_it_says_how_far_a_caller_came(node: str, words: str) -> None:
    assert reached_words(node) == words


def tags(**change: object) -> list[tuple[str, str]]:
    return [(tag.text, tag.tone) for tag in call_tags(row(**change), ZONE, NOW)]


def test_tags_are_words() -> None:
    assert tags(tags=("relay", "short", "test", "third")) == [
        ("needed more time", ""), ("short form", ""), ("test call", ""), ("third call in 20 min", "urgent"),
    ]  # fmt: skip
    assert tags(tags=("third",), state="closed") == [("third call in 20 min", "")]
    assert tags(worse_at=NOW) == [("got worse 07:41", "urgent")]
    assert tags(tags=("status:owned",)) == [("asked how far it is", "")]
    assert tags(tags=("a-tag-of-tomorrow",)) == []


@pytest.mark.parametrize(
    ("minutes", "state", "tone"),
    [(5, "new", ""), (-5, "new", "urgent"), (-5, "acknowledged", "urgent"), (-5, "closed", "")],
)
def test_a_promise_is_told_and_red_when_it_is_past(minutes: int, state: str, tone: str) -> None:
    until = NOW + timedelta(minutes=minutes)
    assert tags(promised_by=until, state=state) == [(f"told: call back by 07:{41 + minutes}", tone)]


def test_a_missed_call_says_what_is_known_of_it() -> None:
    missed = row(kind="missed", first_words=None, has_audio=False, duration_s=0.0, reached="menu")
    assert no_words(missed) == "Hung up at the menu."
    assert no_words(replace(missed, reached="take", has_audio=True, duration_s=8.2)) == (
        "Hung up after the tone: no voice made out in 8 s. Listen."
    )
    assert no_words(replace(missed, kind="status", tags=("status:heard",))) == (
        "Asked how far the message is. Told: it was heard."
    )


def test_parts_are_chips_only_when_there_is_somewhere_to_jump() -> None:
    message, name = PartView("message", 0, 3, False), PartView("name", 0.2, 1, False)
    assert part_chips(()) == part_chips((message,)) == ()
    assert [c.text for c in part_chips((name,))] == ["Name"]
    earlier = (message, PartView("message", 3, 5, True), PartView("dob", 5, 6, True))
    assert [(c.text, c.start) for c in part_chips(earlier)] == [
        ("Message", 0), ("Earlier take", 3), ("Earlier take: date of birth", 5),
    ]  # fmt: skip
