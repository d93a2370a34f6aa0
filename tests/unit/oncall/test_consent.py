"""Whether a call back is recorded, as pure steps: only a patient's key 1 after the whole question is a yes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.oncall.test_dialogue import EVENTS, FULL, Talk

from nightbell.flow.clips import manifest
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.turns import ME, PATIENT, Answered, Ended, Event, Key, Silence

ASKING = replace(FULL, records=True)
YES, JOIN = ("consent", "yes"), ("join", "record")
NO, PLAIN = ("consent", "no"), ("join", "")


class Asked(Talk):
    """The patient has just answered, and the worker notes what they say as they say it."""

    def __init__(self, noted: bool = True, purpose: Purpose = Purpose.CALLBACK) -> None:
        super().__init__(purpose, ASKING)
        self.noted = noted
        self.answer("1")
        self.take(Answered(PATIENT))

    def take(self, event: Event) -> None:
        self.answers["consent"] = "no"
        if isinstance(event, Key) and event.side == PATIENT and event.key == "1" and self.noted:
            self.answers["consent"] = "yes"
        super().take(event)

    def told(self) -> Asked:
        """They have heard that it may be recorded."""
        self.take(Silence(PATIENT))
        return self

    def greeted(self) -> list[tuple[str, str]]:
        """Both have heard how it is; what was done with the patient on the line."""
        self.take(Silence(PATIENT))
        self.take(Silence())
        return self.done[1:]


def test_key_one_after_the_question_is_a_yes_and_both_hear_that_it_is_recorded() -> None:
    talk = Asked()
    assert talk.heard_by_patient == ["connect-patient", "consent-told"]
    assert talk.said[-1] == "consent-asks", "the clinician is told and asked as well"
    talk.told()
    assert talk.heard_by_patient[-1] == "consent-key"
    assert talk.done == [("ring", "")]
    talk.take(Key("1", PATIENT))
    assert talk.heard_by_patient[-1] == "notice-call"
    assert talk.said[-2:] == ["notice-call", "connect-now"]
    assert talk.greeted() == [YES, JOIN]


@pytest.mark.parametrize("key", list("234567890*#"))
def test_every_other_key_is_a_no_at_once(key: str) -> None:
    talk = Asked().told()
    talk.take(Key(key, PATIENT))
    assert (talk.heard_by_patient[-1], talk.said[-2:]) == ("consent-off", ["consent-off", "connect-now"])
    assert talk.greeted() == [NO, PLAIN]


def test_no_key_is_a_no() -> None:
    talk = Asked().told()
    talk.take(Silence(PATIENT))
    assert talk.heard_by_patient[-1] == "consent-off"
    assert talk.greeted() == [NO, PLAIN]


def test_a_key_before_the_question_is_no_answer() -> None:
    talk = Asked()
    talk.take(Key("1", PATIENT))
    assert talk.acts() == ["ring"]
    talk.told()
    talk.take(Silence(PATIENT))
    assert talk.greeted() == [NO, PLAIN]


@pytest.mark.parametrize("told", [False, True])
def test_the_clinician_refuses_by_two_and_agrees_for_nobody(told: bool) -> None:
    talk = Asked().told() if told else Asked()
    talk.press("1", "5")
    assert talk.acts() == ["ring"]
    talk.press("2")
    talk.take(Key("1", PATIENT))
    assert talk.greeted() == [NO, PLAIN]


def test_what_could_not_be_noted_is_not_recorded() -> None:
    talk = Asked(noted=False).told()
    talk.take(Key("1", PATIENT))
    assert talk.heard_by_patient[-1] == "consent-off"
    assert talk.greeted() == [YES, PLAIN]


@pytest.mark.parametrize("told", [False, True])
def test_a_patient_who_hangs_up_meanwhile_was_not_asked(told: bool) -> None:
    talk = Asked().told() if told else Asked()
    talk.take(Ended("hung_up", PATIENT))
    assert talk.acts() == ["ring"]
    assert "outcome-ask" in talk.said


def test_nobody_is_asked_where_the_practice_has_not_decided_so() -> None:
    talk = Talk(Purpose.CALLBACK).answer("1")
    talk.take(Answered(PATIENT))
    talk.take(Key("1", PATIENT))
    talk.take(Silence(PATIENT))
    talk.take(Silence())
    assert talk.done == [("ring", ""), PLAIN]


@given(st.sampled_from((Purpose.CALLBACK, Purpose.ALERT)), st.lists(EVENTS, max_size=60))
def test_whatever_happens_only_a_yes_that_was_noted_is_recorded(
    purpose: Purpose, events: list[Event]
) -> None:
    talk = Talk(purpose, ASKING, consent="no")
    talk.answer(*(("1",) if purpose == Purpose.CALLBACK else ("1", "135792#", "4")))
    talk.take(Answered(PATIENT))
    for event in events:
        talk.take(event)
    assert JOIN not in talk.done
    said = {*talk.said, *talk.heard_by_patient} - {"practice-name"}
    assert {f"{language}/{clip}.ulaw" for clip in said for language in ("en", "es")} <= set(manifest().hashes)


@given(st.lists(EVENTS, max_size=30))
def test_left_alone_they_are_joined_once_or_it_is_over(events: list[Event]) -> None:
    talk = Asked()
    for event in events:
        talk.take(event)
    for _ in range(40):
        if ME in talk.gone or talk.state.place in ("calling", "together"):
            break
        talk.take(Silence(PATIENT))
        talk.take(Silence())
    assert ME in talk.gone or talk.state.place in ("calling", "together")
    assert talk.acts().count("join") <= 1
    assert talk.acts().count("consent") <= 1
