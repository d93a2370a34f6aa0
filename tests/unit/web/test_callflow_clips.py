"""Every recording that a caller can hear is offered to the practice somewhere, and under one that it is said in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.flow.driver import ALL_WAYS, NIGHT, config_of, everywhere, situation_of

from nightbell.flow.clips import manifest
from nightbell.flow.hours import Kind
from nightbell.flow.line import Line
from nightbell.flow.plan import LOCKED, Plan
from nightbell.web.callflow import PANELS, View, picture
from nightbell.web.callflow_clips import said, step_saying, with_changes
from nightbell.web.callflow_words import Book

OFFERED_APART = {"practice-fallback", "practice-name"}  # the name has a place of its own


def view_of(plan: Plan, kind: Kind = Kind.CLOSED, live: Plan | None = None) -> View:
    line = Line(plan=plan, team=True, number="5552014567")
    return View(plan, live or plan, line, Book(plan.clips), situation_of(kind), NIGHT, "en", {}, "Front desk")


@pytest.mark.parametrize("plan", [Plan(), ALL_WAYS, Plan(keys=(), second="5552014567")])
@pytest.mark.parametrize("kind", [Kind.CLOSED, Kind.LUNCH])
def test_nothing_is_said_that_cannot_be_replaced(plan: Plan, kind: Kind) -> None:
    offered = {clip for one in said(view_of(plan, kind)).values() for clip in one.all}
    heard = set()
    for config in (*(config_of(plan, one, kind) for one in ("5035550134", "")), config_of(plan, busy=True)):
        heard |= {word for word in config.graph.trouble if word[0] not in "~{"}
        for ones in everywhere(config).values():
            for one in ones:
                heard |= {clip.partition("/")[2] for clip in one.over().heard}
    heard -= {"", *OFFERED_APART}
    assert heard >= {"emergency-911"}
    heard -= LOCKED  # nobody replaces the 911 words
    assert not offered & LOCKED
    assert len(heard) > 20
    assert heard <= offered
    assert offered <= set(manifest().longest)


def test_words_stand_in_the_panel_in_which_they_are_said() -> None:
    found = said(view_of(ALL_WAYS))
    assert "emergency" not in found  # the 911 words are nobody's to change
    assert found["lines"].words == ("emergency-988",)
    assert "urgent-lead" in found["key-1"].words
    assert found["key-5"].words == ("menu-billing", "press-5")
    assert "status-owned" in found["key-3"].words
    assert "menu-billing" not in found["menu"].words
    assert "menu-wait" in found["menu"].words
    assert "digit-7-end" in found["callback"].small
    assert set(found) <= {*PANELS, *(f"key-{k.key}" for k in ALL_WAYS.keys)}
    assert step_saying(view_of(ALL_WAYS), "review-hang-up") == "message"
    assert step_saying(view_of(ALL_WAYS), "studio-keep") == ""


def test_a_step_is_marked_whose_words_were_replaced() -> None:
    mine = replace(ALL_WAYS, clips={"es/review-listen": "a" * 64, "en/urgent-lead": "b" * 64})
    view = view_of(mine, live=ALL_WAYS)
    steps = with_changes(view, picture(view))
    marked = {one.id for step in steps for one in (step, *step.branches) if one.changed}
    assert marked == {"review", "key-1", "key-6"}
