"""The call-back number, the guided questions, and how far a message is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.flow.driver import ALL_WAYS, CALLER, MESSAGE, NIGHT, WORKER_MS, Caller, config_of

from nightbell.core.capture import EndReason
from nightbell.flow.build import _STATES
from nightbell.flow.model import AskStatus, Told
from nightbell.flow.plan import MenuKey, Plan
from nightbell.flow.turn import Phase
from nightbell.mailbox.marks import read

GIVEN = "2125550199"


def at_callback(caller: str = CALLER, language: str = "") -> Caller:
    """Somebody who has chosen to leave a routine message."""
    return Caller(config_of(caller=caller, language=language)).answered().to("greeting").press("2")


def numbers(caller: Caller) -> list[str]:
    return caller.notes("callback:")


# The number to call back.


def test_it_reads_the_callers_number_back_and_takes_it_at_key_1() -> None:
    caller = at_callback().to("callback", Phase.WAIT)
    read = [clip for clip in caller.heard if "/digit-" in clip]
    assert read == [f"en/digit-{key}" for key in CALLER[:-1]] + ["en/digit-4-end"]
    caller.press("1").to("take", Phase.RECORDING)
    assert numbers(caller) == ["callback:seen"]


def test_it_goes_on_soon_with_the_number_that_it_sees_and_calls_it_not_confirmed() -> None:
    caller = at_callback().to("callback", Phase.WAIT)
    began = caller.now
    caller.to("notice")
    assert caller.now - began == 5_000
    assert numbers(caller) == []
    assert "slow" not in caller.notes()


def test_it_asks_for_the_number_when_it_sees_none() -> None:
    caller = at_callback("").to("callback", Phase.DIGITS)
    assert caller.said("ask-callback")
    assert not caller.said("callback-seen")


@pytest.mark.parametrize("keys", [GIVEN, "1" + GIVEN, "99*" + GIVEN, "1" + GIVEN + "#"])
def test_it_reads_a_keyed_number_back_and_keeps_it_when_confirmed(keys: str) -> None:
    caller = at_callback().press("2").press(keys)
    assert caller.at == ("callback-confirm", Phase.WORDS)
    caller.to("callback-confirm", Phase.WAIT)
    assert [clip[9:] for clip in caller.heard if "/digit-" in clip][-10:] == [*GIVEN[:-1], "9-end"]
    caller.press("1").to("take", Phase.RECORDING)
    assert numbers(caller) == [f"callback:{GIVEN}"]
    assert caller.said("number-kept")


def test_it_asks_again_when_the_number_that_was_read_is_wrong() -> None:
    caller = at_callback().press("2").press("2125550198").to("callback-confirm", Phase.WAIT).press("2")
    assert caller.at == ("callback-enter", Phase.WORDS)
    caller.press(GIVEN).to("callback-confirm", Phase.WAIT).press("1")
    assert numbers(caller) == [f"callback:{GIVEN}"]


def test_it_asks_for_a_number_twice_and_then_goes_on_without() -> None:
    caller = at_callback("").press("12#")
    assert caller.state.node == "callback-short"
    caller.press("34#")
    assert caller.state.node == "callback-skip"
    caller.to("take", Phase.RECORDING)
    assert numbers(caller) == ["callback:skipped"]
    assert caller.said("number-skip")


def test_it_gives_whoever_keys_no_number_more_time_and_then_goes_on() -> None:
    caller = at_callback("").to("callback", Phase.DIGITS)
    began = caller.now
    caller.to("callback-skip")
    assert caller.said("more-time")
    assert caller.now - began == 10_000 + 20_000
    assert numbers(caller) == ["callback:skipped"]


def test_it_takes_what_was_keyed_when_no_more_comes() -> None:
    caller = at_callback("").press("212555").to("callback-short")
    assert caller.said("more-time")
    assert caller.said("number-short")


def test_it_keeps_a_number_that_nobody_confirms() -> None:
    caller = at_callback("").press(GIVEN).to("take", Phase.RECORDING)
    assert numbers(caller) == ["callback:unsure"]
    assert caller.notes("callback-entered:") == [f"callback-entered:{GIVEN}"]
    assert caller.said("number-skip")


def test_a_keyed_number_is_kept_though_its_caller_hangs_up_as_it_is_read_back() -> None:
    caller = at_callback("").press(GIVEN).to("callback-confirm").wait(2_000).hang_up().over()
    assert caller.notes("callback-entered:") == [f"callback-entered:{GIVEN}"]


def test_a_number_that_its_caller_takes_back_is_not_kept() -> None:
    caller = at_callback("").press(GIVEN).to("callback-confirm", Phase.WAIT).press("2").hang_up().over()
    assert read(caller.marks).entered == ""


def test_whoever_asks_and_then_goes_on_to_a_message_but_leaves_none_is_missed() -> None:
    caller = asking(Told("waiting_open", NIGHT, MESSAGE)).to("status-waiting_open").press("2").to("notice")
    assert caller.wait(2_000).hang_up().over().kind() == "missed"


@pytest.mark.parametrize("key", ["0", "2", "4"])
def test_a_hidden_number_is_asked_for_on_every_way(key: str) -> None:
    guided = MenuKey("4", "menu-refill", asks="guided")
    plan = replace(Plan(), keys=(*Plan().keys, guided), callback=False)
    caller = Caller(config_of(plan, caller="")).answered().to("greeting").press(key).over()
    assert caller.said("record-number") or caller.said("ask-callback-spoken")


def test_guided_callers_who_cannot_key_a_number_are_asked_to_say_it() -> None:
    plan = replace(Plan(), keys=(MenuKey("4", "menu-refill", asks="guided"),))
    caller = Caller(config_of(plan, caller="")).answered().to("greeting").press("4").over()
    assert caller.said("ask-callback-spoken")
    assert "part:number" in caller.notes()


@pytest.mark.parametrize("number", ["2005550100", "8002005000"])
@pytest.mark.parametrize("when", ["early", "in time"])
def test_it_takes_no_0_within_a_number_for_key_0(number: str, when: str) -> None:
    caller = Caller(config_of(caller="")).answered().to("greeting").press("1")
    if when == "in time":
        caller.to("callback.free-urgent", Phase.DIGITS)
    caller.press(number, gap=50).to("callback-confirm.free-urgent", Phase.WAIT).press("1")
    assert numbers(caller) == [f"callback:{number}"]


@pytest.mark.parametrize("when", ["with the menu", "as it asks", "after the words"])
def test_key_0_in_place_of_a_number_leads_to_the_tone(when: str) -> None:
    caller = Caller(config_of(caller="")).answered().to("greeting").press("1", gap=0)
    if when == "as it asks":
        caller.to("callback.free-urgent").wait(1_000)
    elif when == "after the words":
        caller.to("callback.free-urgent", Phase.DIGITS)
    asked = caller.now
    caller.press("0").to("take")
    assert caller.tone_at is not None
    assert caller.tone_at - asked < 15_000
    assert caller.said("notice-recorded")


def test_it_acts_on_what_was_keyed_during_the_words_before() -> None:
    caller = Caller(config_of()).answered().to("greeting").press("1", gap=0).press("2" + GIVEN, gap=20)
    began = caller.now
    caller.to("callback-confirm.free-urgent")
    assert caller.state.entered == GIVEN
    assert caller.now - began < 20_000


# Guided questions.


@pytest.mark.parametrize(("key", "mark", "last"), [("4", "guided", "reason"), ("2", "refill", "refill")])
def test_it_records_each_answer_as_a_part_of_its_own(key: str, mark: str, last: str) -> None:
    caller = Caller(config_of(ALL_WAYS)).answered().to("greeting").press(key)
    for part in ("name", "dob", last):
        caller.to(f"take-{part}.{mark}", Phase.RECORDING).speak(3_000)
    caller.over()
    parts = [name for name in caller.notes() if name.startswith("part")]
    assert parts == ["part:name", "part-end", "part:dob", "part-end", f"part:{last}", "part-end"]
    assert caller.kind() == "message"
    words = [clip for clip in caller.heard if clip.startswith("en/ask-")]
    assert words == ["en/ask-intro", "en/ask-name", "en/ask-dob", f"en/ask-{last}"]
    assert caller.heard.count("tone") == 3


def test_it_goes_on_to_the_next_question_after_a_pause_and_at_pound() -> None:
    caller = Caller(config_of(ALL_WAYS)).answered().to("greeting").press("4")
    caller.to("take-name.guided", Phase.RECORDING).speak(2_000)
    began = caller.now
    caller.to("ask-dob.guided")
    assert 5_000 <= caller.now - began <= 5_100
    caller.to("take-dob.guided", Phase.RECORDING).speak(2_000).press("#", gap=0)
    assert caller.state.node == "ask-reason.guided"


def test_it_asks_on_when_one_question_is_left_without_an_answer() -> None:
    caller = Caller(config_of(ALL_WAYS)).answered().to("greeting").press("4")
    caller.to("take-name.guided", Phase.RECORDING)
    began = caller.now
    caller.to("take-dob.guided", Phase.RECORDING)
    assert 12_000 <= caller.now - began < 20_000
    caller.to("take-reason.guided", Phase.RECORDING).speak(4_000)
    caller.to("review.guided").over()
    assert caller.kind() == "message"
    assert "unheard" not in caller.notes()


def test_it_asks_once_more_for_the_message_when_no_question_had_an_answer() -> None:
    caller = Caller(config_of(ALL_WAYS)).answered().to("greeting").press("4")
    caller.to("take-again", Phase.RECORDING).over()
    assert caller.saves() == [EndReason.SILENCE]
    assert "unheard" in caller.notes()
    assert caller.kind() == "missed"


def test_it_settles_tray_and_urgency_of_a_menu_key() -> None:
    caller = Caller(config_of(ALL_WAYS)).answered().to("greeting").press("2")
    assert caller.notes("mailbox:") == ["mailbox:01K000000000000000000MAB0X"]
    caller = Caller(config_of(ALL_WAYS)).answered().to("greeting").press("4")
    assert caller.notes("urgency:") == ["urgency:review"]
    assert not caller.state.urgent
    caller = Caller(config_of(ALL_WAYS)).answered().to("greeting").press("6").to("take-name.guided-urgent")
    assert "urgent" in caller.notes()


# How far is my message?


def asking(answer: Told | None, number: str = GIVEN) -> Caller:
    caller = Caller(config_of()).answered().to("greeting").press("3")
    caller.answer = answer
    return caller.press(number)


@pytest.mark.parametrize("state", [*_STATES, "none"])
def test_it_asks_the_worker_once_for_the_keyed_number(state: str) -> None:
    caller = asking(Told(state, NIGHT - timedelta(minutes=9), MESSAGE)).over()
    assert [action for action in caller.actions if isinstance(action, AskStatus)] == [AskStatus(GIVEN)]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Told("waiting", NIGHT), ["status-left", "hour-10", "minute-00", "part-evening", "status-waiting"]),
        (Told("waiting_open", NIGHT), ["status-left", "hour-10", "minute-00", "part-evening", "status-waiting-open"]),
        (Told("left", NIGHT), ["status-left", "hour-10", "minute-00", "part-evening"]),
        (Told("heard", NIGHT - timedelta(minutes=18)), ["status-heard", "hour-9", "minute-42", "part-evening"]),
        (Told("owned", NIGHT), ["status-heard", "hour-10", "minute-00", "part-evening", "status-owned"]),
        (Told("owned"), ["status-owned"]),
        (Told("tried", NIGHT - timedelta(days=1)),
         ["status-tried", "day-yesterday", "hour-10", "minute-00", "part-evening"]),
        (Told("done"), ["status-done"]),
    ],
    ids=lambda value: value.state if isinstance(value, Told) else "",
)  # fmt: skip
def test_it_tells_the_state_of_the_message(told: Told, words: list[str]) -> None:
    caller = asking(told)
    before = len(caller.heard)
    caller.over()
    said = [clip.partition("/")[2] for clip in caller.heard[before:]]
    assert said[said.index(words[0]) :][: len(words)] == words
    assert ("worse-offer" in said) == (told.state != "done")
    assert caller.notes("status:") == [f"status:{told.state}"]
    assert caller.said("goodbye")
    assert not caller.said("saved")
    assert caller.kind() == "status"


def test_it_says_of_a_wrong_number_word_for_word_what_it_says_of_no_message() -> None:
    none = asking(Told("none")).to("take", Phase.RECORDING)
    silent = asking(None).to("take", Phase.RECORDING)
    unknown = asking(Told("no-such-state", NIGHT, MESSAGE)).to("take", Phase.RECORDING)
    late = asking(None)
    late.to("status-query", Phase.QUERY).wait(3_900)
    late.send(Told("none"))
    late.to("take", Phase.RECORDING)
    assert none.heard == silent.heard == unknown.heard == late.heard
    assert none.now != silent.now  # only a worker that is gone can be told by its time
    wrong = asking(Told("none"), "2125550198").to("take", Phase.RECORDING)
    assert wrong.heard == none.heard
    assert wrong.now == none.now


def test_it_takes_the_first_answer_only_and_none_that_nobody_asked_for() -> None:
    caller = Caller(config_of()).answered().to("menu")
    assert caller.send(Told("owned", NIGHT, MESSAGE)) == []
    caller = asking(Told("owned", NIGHT, MESSAGE)).to("status-heard_owned")
    assert caller.send(Told("done")) == []
    assert caller.notes("status:") == ["status:owned"]


def test_it_does_not_wait_for_an_answer_for_ever() -> None:
    caller = asking(None).to("status-query", Phase.QUERY)
    began = caller.now
    caller.to("status-none")
    assert caller.now - began == 4_000
    assert WORKER_MS < 4_000


def test_it_joins_a_message_that_got_worse_to_the_first_one_as_urgent() -> None:
    caller = asking(Told("heard", NIGHT, MESSAGE)).to("status-heard", Phase.WAIT).press("1")
    assert "urgent" in caller.notes()
    assert caller.notes("joins:") == [f"joins:{MESSAGE}"]
    caller.to("take-worse", Phase.RECORDING).speak(6_000).press("#").over()
    assert caller.said("emergency-911-signs")
    assert "part:worse" in caller.notes()
    assert caller.kind() == "message"


def test_it_joins_nothing_when_the_worker_named_no_message() -> None:
    caller = asking(Told("heard", NIGHT)).to("status-heard", Phase.WAIT).press("1")
    assert caller.notes("joins:") == []
    assert "urgent" in caller.notes()


def test_it_offers_no_worse_for_what_is_done() -> None:
    caller = asking(Told("done", None, MESSAGE)).to("status-done", Phase.WAIT).press("1")
    assert caller.at == ("status-done", Phase.WAIT)


def test_it_takes_a_new_message_after_a_state_was_told() -> None:
    caller = asking(Told("owned", NIGHT, MESSAGE)).to("status-heard_owned").press("2")
    caller.to("take", Phase.RECORDING).speak(4_000).press("#").over()
    assert caller.kind() == "message"
    assert caller.notes("joins:") == []


def test_it_takes_a_message_from_whoever_has_no_number_to_ask_with() -> None:
    caller = Caller(config_of()).answered().to("greeting").press("3").press("1#").press("2#")
    caller.to("status-none").to("take", Phase.RECORDING)
    assert not [action for action in caller.actions if isinstance(action, AskStatus)]
    assert caller.notes("status:") == []


def test_it_has_no_status_line_where_the_plan_has_none() -> None:
    plan = Plan(keys=Plan().keys[:2])
    assert not [name for name in config_of(plan).graph.nodes if name.startswith("status")]


def test_the_key_that_asks_for_more_time_is_no_digit_of_the_number() -> None:
    caller = at_callback("").to("callback", Phase.DIGITS)
    while not caller.said("more-time"):
        caller.wait(1_000)
    caller.press("5" + GIVEN)
    assert caller.at[0] == "callback-confirm"
    assert caller.state.entered == GIVEN


def test_a_number_keyed_in_after_more_time_needs_no_extra_key() -> None:
    caller = at_callback("").to("callback", Phase.DIGITS)
    while not caller.said("more-time"):
        caller.wait(1_000)
    caller.press(GIVEN).to("callback-confirm")
    assert caller.state.entered == GIVEN


def test_a_nervous_second_key_is_no_digit_of_the_number() -> None:
    caller = Caller(config_of(caller="")).answered().press("11").to("callback.free-urgent", Phase.DIGITS)
    assert caller.state.entered == ""
    assert caller.said("ask-callback")
