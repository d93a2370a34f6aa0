"""Calls to people of ours, as pure steps: what is said before a PIN, what counts as told, and what no key may do."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.core.dialling import allowed, e164, shown
from nightbell.core.notice import NoticeKind, Notification
from nightbell.flow.clips import manifest
from nightbell.oncall import dialogue
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.notifications import render
from nightbell.oncall.turns import (
    ME,
    PATIENT,
    Answered,
    Do,
    Ended,
    Event,
    Facts,
    HangUp,
    Key,
    Parted,
    Say,
    Silence,
    Told,
)

URGENT = render(Notification(NoticeKind.URGENT, "AB12", "x" * 22), "https://bell.example").voice
FULL = Facts(URGENT, listens=True, connects=True, choices=3, shift=("shift-starts-now",), running=True)


class Talk:
    """One call with a worker that answers as it was told to; by itself, that all is well."""

    def __init__(self, purpose: Purpose, facts: Facts = FULL, **answers: str) -> None:
        self.purpose, self.facts = purpose, facts
        self.answers = {"pin": "ok", "take": "mine", "pass": "next", "connect": "ok", "listen": "ok", "more": "no", "ring": "ok",
                        "outcome": "closed", "ask": "ok", "answer": "taken"} | answers  # fmt: skip
        self.state = dialogue.start(purpose)
        self.done: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.heard_by_patient: list[str] = []
        self.gone: list[str] = []

    def take(self, event: Event) -> None:
        turn = dialogue.on(self.purpose, self.state, event, self.facts)
        self.state = turn.state
        for action in turn.actions:
            if isinstance(action, Say):
                said = self.said if action.side == ME else self.heard_by_patient
                said += [clip.removeprefix("en/") for clip in action.clips if not clip.startswith("~")]
            elif isinstance(action, HangUp):
                self.gone.append(action.side)
            else:
                assert isinstance(action, Do)
                self.done.append((action.what, action.value))
                if action.what in self.answers:
                    self.take(Told(action.what, self.answers[action.what]))

    def answer(self, *keys: str) -> Talk:
        self.take(Answered())
        return self.press(*keys)

    def press(self, *keys: str) -> Talk:
        for key in itertools.chain(*keys):
            self.take(Key(key))
        return self

    def wait(self, times: int = 1) -> Talk:
        for _ in range(times):
            self.take(Silence())
        return self

    def acts(self) -> list[str]:
        return [what for what, _ in self.done]


def test_before_the_pin_there_are_practice_and_urgency_alone() -> None:
    talk = Talk(Purpose.ALERT).answer("1", "135792")
    assert talk.said == [
        "alert-hello",
        "practice-name",
        "alert-urgent",
        "alert-human",
        "alert-wrong",
        "press-9",
        "pin-enter",
    ]
    assert talk.done == []
    talk.press("#")
    assert talk.done == [("pin", "135792")]
    assert "act-take" in talk.said


def test_key_one_takes_it_and_what_can_be_done_then_is_said() -> None:
    talk = Talk(Purpose.ALERT).answer("1", "135792#", "1")
    assert talk.acts() == ["pin", "take"]
    after = talk.said[talk.said.index("taken") :]
    assert after == ["taken", "act-listen", "press-2", "act-connect", "press-4"]
    talk.press("3", "1")
    assert talk.acts() == ["pin", "take"], "what is theirs is neither passed on nor taken twice"


def test_the_second_one_learns_that_somebody_has_it() -> None:
    talk = Talk(Purpose.ALERT, take="other").answer("1", "135792#", "1").wait()
    assert talk.said[-1] == "taken-other"
    assert talk.gone == [ME]


def test_a_machine_hears_one_sentence_and_is_no_answer() -> None:
    talk = Talk(Purpose.ALERT).answer().wait(2)
    assert talk.said[-1] == "alert-machine"
    assert talk.acts() == []
    assert talk.wait().gone == [ME]


def test_a_wrong_number_is_disowned_before_the_pin_alone() -> None:
    talk = Talk(Purpose.ALERT).answer("9")
    assert (talk.acts(), talk.said[-2:]) == ([], ["alert-wrong", "press-9"]), "a slip is no word"
    talk.press("9")
    assert (talk.acts(), talk.said[-1]) == (["disown"], "alert-wrong-ok")
    assert "disown" not in Talk(Purpose.ALERT).answer("9", "5", "9").acts()
    assert "disown" not in Talk(Purpose.ALERT).answer("1", "135792#", "9").acts()


def test_a_pin_is_asked_again_until_it_is_locked() -> None:
    talk = Talk(Purpose.ALERT, pin="wrong").answer("1", "111222#")
    assert talk.said[-1] == "pin-wrong"
    talk.answers["pin"] = "locked"
    talk.press("111333#")
    assert talk.said[-1] == "pin-locked"
    assert talk.press("1", "2", "4").acts() == ["pin", "pin"]


def test_eight_digits_need_no_pound_and_a_star_begins_anew() -> None:
    assert Talk(Purpose.ALERT).answer("1", "12345678").done[0] == ("pin", "12345678")
    assert Talk(Purpose.ALERT).answer("1", "99*135792#").done[0] == ("pin", "135792")
    assert Talk(Purpose.ALERT).answer("1", "135792").wait().done[0] == ("pin", "135792")


@pytest.mark.parametrize("key", ["*", "#", "1*"])
@pytest.mark.parametrize("purpose", [Purpose.STAFF, Purpose.ALERT])
def test_nobody_holds_a_line_by_beginning_a_pin_again_and_again(purpose: Purpose, key: str) -> None:
    talk = Talk(purpose).answer("1" if purpose == Purpose.ALERT else "").press(key)
    assert talk.state.place == "pin", "once is a slip"
    talk.press(key)
    assert (talk.state.place, talk.acts()) == ("bye", [])


def test_without_the_practices_decision_nothing_is_played() -> None:
    talk = Talk(Purpose.ALERT, Facts(URGENT)).answer("1", "135792#", "2")
    assert "listen" not in talk.acts()
    assert "act-listen" not in talk.said
    assert "listen-not-here" in talk.said
    assert "connect" not in talk.press("4").acts()


def test_a_message_is_heard_and_then_the_menu_comes_again() -> None:
    talk = Talk(Purpose.ALERT).answer("1", "135792#", "2")
    assert talk.acts()[-1] == "listen"
    talk.said.clear()
    assert "act-take" in talk.wait().said
    assert talk.press("2").press("1").acts()[-2:] == ["listen", "take"]


def test_to_ring_the_patient_one_takes_the_message_first() -> None:
    talk = Talk(Purpose.ALERT).answer("1", "135792#", "4")
    assert talk.acts() == ["pin", "take", "connect", "ring"]
    beaten = Talk(Purpose.ALERT, take="other").answer("1", "135792#", "4")
    assert beaten.acts() == ["pin", "take"]


@pytest.mark.parametrize(("answer", "words"), [("next", "passed"), ("last", "pass-last")])
def test_passing_it_on(answer: str, words: str) -> None:
    talk = Talk(Purpose.ALERT, FULL, **{"pass": answer}).answer("1", "135792#", "3").wait()
    assert (talk.said[-1], talk.gone) == (words, [ME])


def test_who_is_told_alone_or_last_is_not_told_that_others_are_called() -> None:
    alone = Talk(Purpose.ALERT, Facts(URGENT, passes=False)).answer("1", "135792#", "3")
    assert "pass" not in alone.acts()
    assert "act-pass" not in alone.said
    last = Talk(Purpose.ALERT, FULL, **{"pass": "nobody"}).answer("1", "135792#", "3")
    assert not {"passed", "pass-last"} & set(last.said)
    assert last.press("1").acts()[-1] == "take"


def _together() -> Talk:
    talk = Talk(Purpose.CALLBACK).answer("1")
    talk.take(Answered(PATIENT))
    talk.take(Silence(PATIENT))
    talk.take(Silence())
    return talk


def test_a_call_back_rings_the_patient_after_a_key_and_joins_when_both_have_heard() -> None:
    talk = Talk(Purpose.CALLBACK).answer()
    assert talk.acts() == []
    talk.press("1")
    assert talk.acts() == ["ring"]
    talk.take(Answered(PATIENT))
    assert talk.heard_by_patient == ["connect-patient"], "neither a name nor a practice"
    talk.take(Silence())
    assert talk.acts() == ["ring"]
    talk.take(Silence(PATIENT))
    assert talk.acts() == ["ring", "join"]
    assert _together().acts() == ["ring", "join"]


@pytest.mark.parametrize(
    ("key", "outcome"),
    [("1", "reached"), ("2", "left_word"), ("3", "wrong_number"), ("4", "emergency"), ("5", "no_answer")],
)
def test_when_the_patient_has_hung_up_the_outcome_is_asked_for(key: str, outcome: str) -> None:
    talk = _together()
    talk.take(Ended("hung_up", PATIENT))
    assert "outcome-ask" in talk.said
    talk.take(Key("1", PATIENT))
    assert "outcome" not in talk.acts(), "the patient's keys choose nothing"
    assert talk.press(key).done[-1] == ("outcome", outcome)
    assert talk.said[-2:] == ["outcome-saved", "goodbye"]


def test_parted_without_an_end_lets_the_patient_go() -> None:
    talk = _together()
    talk.take(Parted())
    assert talk.gone == [PATIENT]
    assert "outcome-ask" in talk.said


def test_a_patient_who_does_not_answer_is_rung_again_thrice_at_most() -> None:
    talk = Talk(Purpose.CALLBACK).answer("1")
    for _ in range(2):
        talk.take(Ended("no_answer", PATIENT))
        talk.press("1")
    assert talk.acts() == ["ring"] * 3
    talk.take(Ended("busy", PATIENT))
    assert talk.done[-1] == ("outcome", "no_answer")
    assert talk.press("1").acts().count("ring") == 3


def test_the_staff_line_lets_nobody_in_without_a_pin() -> None:
    talk = Talk(Purpose.STAFF, pin="wrong").answer("135792#")
    assert talk.acts() == ["pin"]
    talk.answers["pin"] = "locked"
    talk.press("135793#")
    assert talk.said[-1] == "pin-locked-staff"


def test_a_shift_is_given_away_by_telephone() -> None:
    talk = Talk(Purpose.STAFF).answer("135792#", "1", "2")
    assert talk.done[-1] == ("ask", "2")
    assert talk.said[-1] == "swap-calling"
    talk.take(Told("swap", "silent"))
    talk.take(Told("swap", "done"))
    assert [clip for clip in talk.said if clip.startswith("swap-")][-2:] == ["swap-no-answer", "swap-done"]
    assert talk.wait().gone == [ME]
    assert "ask" not in Talk(Purpose.STAFF).answer("135792#", "1", "4").acts(), "there are three colleagues"


def test_a_colleague_says_yes_after_the_pin() -> None:
    assert Talk(Purpose.SWAP).answer("1", "1").acts() == []
    talk = Talk(Purpose.SWAP).answer("1", "135792#", "1")
    assert (talk.done[-1], talk.said[-1]) == (("answer", "yes"), "swap-yours-now")
    late = Talk(Purpose.SWAP, answer="late").answer("1", "135792#", "1")
    assert late.said[-1] == "taken-other"


def test_a_code_is_said_twice_and_counts_once_it_was_heard() -> None:
    words = render(Notification(NoticeKind.VERIFY, "AB12", code="502814"), "https://bell.example").voice
    talk = Talk(Purpose.NOTICE, Facts(words)).answer("1")
    assert "heard" not in talk.acts()
    talk.wait()
    assert talk.acts() == ["heard"]
    assert talk.said.count("verify-code") == 2
    assert talk.wait(2).gone == [ME]


@pytest.mark.parametrize("kind", [NoticeKind.VERIFY, NoticeKind.LINE_TEST])
def test_a_machine_hears_no_code_and_what_it_takes_is_not_heard(kind: NoticeKind) -> None:
    code = "502814" if kind == NoticeKind.VERIFY else ""
    words = render(Notification(kind, "AB12", code=code), "https://bell.example").voice
    talk = Talk(Purpose.NOTICE, Facts(words)).answer().wait(3)
    assert (talk.gone, talk.acts()) == ([ME], [])
    first = ["verify-hello"] if code else ["alert-hello", "practice-name"]
    assert talk.said == [*first, "press-1", *first, "press-1", "goodbye"]


def test_the_evening_question() -> None:
    assert Talk(Purpose.READY).answer("1").acts() == ["ready"]
    assert Talk(Purpose.READY).answer("5").wait(3).acts() == []


EVENTS = st.one_of(
    st.builds(Key, st.sampled_from("0123456789*#"), st.sampled_from((ME, PATIENT))),
    st.builds(Silence, st.sampled_from((ME, PATIENT))),
    st.builds(Answered, st.sampled_from((ME, PATIENT))),
    st.builds(Ended, st.just("hung_up"), st.sampled_from((ME, PATIENT))),
    st.just(Parted()),
)
GUARDED = {"take", "listen", "pass", "connect", "ring", "ask", "answer", "outcome"}


@given(st.sampled_from((Purpose.ALERT, Purpose.STAFF, Purpose.SWAP)), st.lists(EVENTS, max_size=60))
def test_whatever_happens_nothing_is_done_before_a_right_pin(purpose: Purpose, events: list[Event]) -> None:
    talk = Talk(purpose, pin="wrong")
    for event in events:
        talk.take(event)
    assert not GUARDED & set(talk.acts())


@given(st.sampled_from([one for one in Purpose if one != Purpose.PATIENT]), st.lists(EVENTS, max_size=80))
def test_every_word_that_may_be_said_is_recorded_in_both_languages(
    purpose: Purpose, events: list[Event]
) -> None:
    talk = Talk(purpose)
    for event in events:
        talk.take(event)
    files, own = manifest().hashes, {"practice-name"}
    for clip in {*talk.said, *talk.heard_by_patient} - own:
        assert f"en/{clip}.ulaw" in files
        assert f"es/{clip}.ulaw" in files


@given(st.sampled_from([one for one in Purpose if one != Purpose.PATIENT]), st.lists(EVENTS, max_size=40))
def test_left_alone_every_call_comes_to_its_end(purpose: Purpose, events: list[Event]) -> None:
    talk = Talk(purpose, take="other")
    talk.take(Answered())
    for event in events:
        talk.take(event)
    for _ in range(60):
        if ME in talk.gone or talk.state.place in ("calling", "together", "asking"):
            return
        talk.take(Silence(PATIENT))
        talk.take(Silence())
    raise AssertionError(f"it stays at {talk.state}")


@pytest.mark.parametrize(
    ("written", "dialled"),
    [
        ("(617) 555-0142", "+16175550142"), ("16175550142", "+16175550142"), ("+4915112345678", "+4915112345678"),
        ("911", ""), ("988", ""), ("9005550142", ""), ("+19005550142", ""), ("2129765501", ""), ("anonymous", ""),
        ("0116175550142", ""), ("1175550142", ""), ("+1617555", ""), ("", ""), ("6175550142;ext=5", ""),
    ],
)  # fmt: skip
def test_only_plain_numbers_are_dialled(written: str, dialled: str) -> None:
    assert e164(written) == dialled


@pytest.mark.parametrize(
    ("number", "own", "may"),
    [
        ("+16175550142", "5035550100", True), ("+15145550142", "+15035550100", True), ("+17875550142", "", True),
        ("+18765550142", "5035550100", False), ("+18765550142", "8765550100", True), ("+16495550142", "8765550100", False),
        ("+4915112345678", "5035550100", False), ("+4915112345678", "+49301234567", True), ("+16175550142", "+49301234567", False),
        ("+35312345678", "+35361234567", True), ("+35312345678", "+35161234567", False), ("+881612345678", "+881612345670", False),
        ("+97912345678", "desk1", False), ("", "5035550100", False),
    ],
)  # fmt: skip
def test_only_numbers_of_the_practices_own_country_are_dialled(number: str, own: str, may: bool) -> None:
    assert allowed(number, own) is may


def test_what_the_other_telephone_shows() -> None:
    found = {one: shown(one) for one in ("5035550100", "", "desk1", "x@y")}
    assert found == {"5035550100": "+15035550100", "": "nightbell", "desk1": "desk1", "x@y": "nightbell"}
