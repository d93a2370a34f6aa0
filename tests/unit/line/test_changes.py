"""What changed between two plans, as people read it."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date

import pytest

from nightbell.flow.hours import Day
from nightbell.flow.plan import MenuKey, OwnDay, Plan
from nightbell.line.rules import changes

BASE = Plan(observed=None)
WEEK = BASE.week
KEYS = BASE.keys
BOXES = {"01J00000000000000000000001": "Refills"}
BOX = next(iter(BOXES))
HASH, OTHER = "a" * 64, "b" * 64

CASES: list[tuple[Plan, Plan, list[str]]] = [
    (BASE, BASE, []),
    (BASE, replace(BASE, languages=("en",)), ["Callers now hear English only"]),
    (BASE, replace(BASE, languages=("es", "en")), ["Callers now hear Spanish first, then English"]),
    (BASE, replace(BASE, week=(Day(510, 1020, None), *WEEK[1:])), ["Monday now opens 8:30"]),
    (BASE, replace(BASE, week=(*(Day(480, 960, None),) * 5, *WEEK[5:])), ["Monday to Friday now close 16:00"]),
    (
        BASE,
        replace(BASE, week=(Day(510, 990, (720, 780)), *WEEK[1:5], Day(540, 720, None), WEEK[6])),
        ["Monday now opens 8:30", "Monday now closes 16:30", "Monday now has a lunch break 12:00 to 13:00",
         "Saturday is now open 9:00 to 12:00"],
    ),
    (BASE, replace(BASE, week=(*WEEK[:3], *(Day(None, None, None),) * 2, *WEEK[5:])),
     ["Thursday to Friday are now closed all day"]),
    (replace(BASE, week=(Day(480, 1020, (720, 780)), *WEEK[1:])), BASE, ["Monday now has no lunch break"]),
    (BASE, replace(BASE, state="NY"), ["Public holidays are now those of US NY"]),
    (BASE, replace(BASE, observed=("Labor Day",)), ["You now close on these public holidays only: Labor Day"]),
    (replace(BASE, observed=("Labor Day",)), replace(BASE, observed=("Memorial Day",)),
     ["You now close on Memorial Day", "You no longer close on Labor Day"]),
    (replace(BASE, observed=()), BASE, ["You now close on all public holidays"]),
    (BASE, replace(BASE, own_days=(OwnDay(date(2026, 12, 24), "Christmas Eve"),)),
     ["December 24, 2026 is now a day off (Christmas Eve)"]),
    (replace(BASE, own_days=(OwnDay(date(2026, 12, 24), "Eve"),)), BASE,
     ["December 24, 2026 is no day off any more (Eve)"]),
    (BASE, replace(BASE, lines=("emergency-988",)), ["The greeting now names the 988 crisis line"]),
    (BASE, replace(BASE, keys=(*KEYS[:2], replace(KEYS[2], does="message", mailbox=BOX))),
     ["Key 3 now leads to Refills, waits until you open, takes the message in one piece"]),
    (BASE, replace(BASE, keys=(KEYS[0], replace(KEYS[1], mailbox=BOX), KEYS[2])), ["Key 2 now leads to Refills"]),
    (BASE, replace(BASE, keys=(KEYS[0], replace(KEYS[1], urgency="urgent"), KEYS[2])),
     ["Key 2 now alerts the team on call"]),
    (BASE, replace(BASE, keys=(KEYS[0], replace(KEYS[1], stem="menu-billing", asks="short"), KEYS[2])),
     ["Key 2 now says “For a bill or insurance question,”", "Key 2 now asks for a short message"]),
    (BASE, replace(BASE, keys=KEYS[:2]), ["Key 3 is gone"]),
    (BASE, replace(BASE, keys=(*KEYS, MenuKey("4", "own-key-4"))),
     ["Key 4 is new: it says words of your own and leads to the mailbox of the number that was called, "
      "waits until you open, takes the message in one piece"]),
    (BASE, replace(BASE, keys=(KEYS[1], KEYS[0], KEYS[2])), ["The menu now goes 2, 1, 3"]),
    (BASE, replace(BASE, callback=False), ["Callers are no longer asked for the number to call back"]),
    (BASE, replace(BASE, review=False), ["Callers are no longer offered to hear their message before it is sent"]),
    (BASE, replace(BASE, for_other=True),
     ["Callers are now asked for their own name when they call for somebody else"]),
    (BASE, replace(BASE, max_seconds=90), ["A message may now last 1:30 minutes"]),
    (BASE, replace(BASE, promise=60), ["Urgent callers are now promised a call within 60 minutes"]),
    (BASE, replace(BASE, promise=240), ["Urgent callers are now promised a call within 4 hours"]),
    (BASE, replace(BASE, second="5035550199"), ["The number said in trouble is now 5035550199"]),
    (BASE, replace(BASE, clips={"es/own-greeting-closed": HASH}),
     ["Your own recording is now used for the closed greeting in Spanish"]),
    (replace(BASE, clips={"en/own-key-3": HASH}), replace(BASE, clips={"en/own-key-3": OTHER}),
     ["Another recording is now used for the words of key 3 in English"]),
    (replace(BASE, clips={"en/practice-name": HASH}), BASE,
     ["Your own recording is no longer used for the practice's name in English"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), CASES)
def test_it_tells_each_change_in_a_sentence(old: Plan, new: Plan, told: list[str]) -> None:
    assert changes(old, new, BOXES) == told


def test_no_field_of_a_plan_changes_without_a_word() -> None:
    silent = {f.name for f in fields(Plan)}
    for old, new, told in CASES:
        if told:
            silent -= {f.name for f in fields(Plan) if getattr(old, f.name) != getattr(new, f.name)}
    assert silent == {"country"}  # told with the state: there is one sentence for both
    assert changes(BASE, replace(BASE, country="CA")) == ["Public holidays are now those of CA"]
