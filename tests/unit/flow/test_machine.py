"""Keys, words and waiting: what a caller goes through before the tone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.flow.driver import ALL_WAYS, CALLER, Caller, at_tone, config_of, everywhere

from nightbell.flow.build import RESTS
from nightbell.flow.hours import Kind
from nightbell.flow.machine import VISITS, is_number
from nightbell.flow.model import Answered, HungUp, Key, Play, Played, Record, Remember, StopPlay, Tick
from nightbell.flow.plan import Plan
from nightbell.flow.turn import Phase

ONE = Plan(languages=("en",))


def answered(plan: Plan | None = None, caller: str = CALLER, **more: object) -> Caller:
    return Caller(config_of(plan, caller, **more)).answered()  # type: ignore[arg-type]


def heard_since(caller: Caller, count: int) -> list[str]:
    return [clip.partition("/")[2] or clip for clip in caller.heard[count:]]


def test_it_says_911_before_anything_else_and_in_the_other_language_within_nine_seconds() -> None:
    caller = answered()
    assert caller.heard == ["en/emergency-911"]
    caller.wait(9_000)
    assert caller.heard[:2] == ["en/emergency-911", "es/emergency-911"]


def test_it_offers_the_other_language_in_the_other_language() -> None:
    caller = answered().to("greeting")
    assert caller.heard[2:4] == ["es/language-offer", "es/press-2"]


def test_it_takes_whoever_presses_nothing_to_the_tone_and_never_scolds() -> None:
    caller = answered().to("take", Phase.RECORDING)
    stages = [name.removeprefix("stage:") for name in caller.notes("stage:")]
    assert stages == ["first", "greeting", "menu", "menu-again", "no-key", "take"]
    words = heard_since(caller, 0)
    assert words.index("no-key") < words.index("relay-welcome") < words.index("no-key-record")
    assert words[-1] == "tone"
    assert "wrong-key" not in words
    assert "urgent" not in caller.notes()


def test_it_has_more_time_from_the_first_time_out_on() -> None:
    caller = answered().to("menu", Phase.WAIT)
    assert caller.state.wake == caller.now + 10_000
    caller.to("menu-again", Phase.WAIT)
    assert caller.state.wake == caller.now + 30_000
    assert caller.notes().count("slow") == 1
    assert Remember("en", True) in caller.actions


def test_it_begins_slowly_for_whoever_was_slow_the_last_time() -> None:
    caller = answered(slow=True).to("menu", Phase.WAIT)
    assert caller.state.wake == caller.now + 30_000


@pytest.mark.parametrize(("node", "phase"), [("greeting", None), ("menu", Phase.WORDS), ("menu", Phase.WAIT)])
def test_it_marks_the_call_urgent_when_key_1_is_pressed(node: str, phase: Phase | None) -> None:
    caller = answered().to(node, phase)
    caller.send(Key("1"))
    assert caller.state.urgent
    assert "urgent" in caller.notes()
    caller.to("take.free-urgent", Phase.RECORDING)
    assert caller.said("emergency-911-signs")
    assert caller.said("record-full")


def test_it_keeps_a_key_pressed_during_911_and_acts_on_it_at_the_end_of_the_clip() -> None:
    caller = answered()
    assert caller.send(Key("1")) == []
    assert caller.state.node == "first"
    caller.send(Played(caller.state.token))
    assert caller.state.urgent


def test_it_keeps_a_key_pressed_during_the_notice() -> None:
    caller = answered().press("0").to("record-now")
    token = caller.state.token
    assert caller.send(Key("0")) == []
    assert caller.state.token == token
    assert caller.to("take").heard[-2:] == ["en/notice-recorded", "tone"]


def test_it_cuts_other_words_short_at_a_key() -> None:
    caller = answered().to("greeting")
    actions = caller.send(Key("2"))
    assert caller.state.node == "callback"
    assert StopPlay() in actions
    assert any(isinstance(action, Play) for action in actions)
    assert not caller.state.urgent


def test_it_says_the_menu_again_at_key_9() -> None:
    caller = answered().to("menu", Phase.WAIT)
    before = len(caller.heard)
    caller.send(Key("9"))
    caller.to("menu", Phase.WAIT)
    assert "menu-urgent" in heard_since(caller, before)
    assert "no-key" not in heard_since(caller, before)
    assert "slow" not in caller.notes()


def test_it_goes_on_to_the_tone_when_a_question_is_asked_for_ever() -> None:
    caller = answered().to("menu")
    for _ in range(5 * VISITS):
        caller.press("9")
        if not caller.state.node.startswith("menu"):
            break
    assert len(caller.notes("stage:menu")) < 5 * VISITS
    assert caller.notes("stage:menu").count("stage:menu-again") <= VISITS + 1
    caller.to("take", Phase.RECORDING)


@pytest.mark.parametrize("key", ["*", "7", "A"])
def test_it_tells_of_a_wrong_key_once_and_then_lets_the_caller_speak(key: str) -> None:
    caller = answered().to("menu", Phase.WAIT)
    caller.press(key).to("menu-wrong", Phase.WAIT)
    assert caller.heard.count("en/wrong-key") == 1
    caller.press(key).to("take", Phase.RECORDING)
    assert caller.heard.count("en/wrong-key") == 1
    assert caller.said("no-key-record")


def test_it_passes_over_keys_that_no_telephone_has() -> None:
    caller = answered().to("menu", Phase.WAIT)
    for key in ("x", "", "11", "١", "#"):
        assert caller.send(Key(key)) == []
    assert caller.at == ("menu", Phase.WAIT)


@pytest.mark.parametrize("node", ["first", "greeting", "menu", "menu-again", "callback", "callback-confirm"])
def test_it_goes_to_the_tone_at_key_0_and_says_first_that_it_records(node: str) -> None:
    caller = everywhere(config_of())[node][0]
    before = len(caller.heard)
    caller.press("0").to("take", Phase.TONE)
    words = heard_since(caller, before)
    assert words[-2:] != ["tone"]
    assert words[words.index("notice-recorded") :][-1] == "tone"
    assert len(words) <= 8  # the rest of the first words, of which none may be cut


def test_it_records_before_the_tone_has_begun() -> None:
    caller = answered().press("0").to("record-now")
    assert len(caller.state.rest) == 0
    actions = caller.send(Played(caller.state.token))
    kinds = [type(action) for action in actions]
    assert kinds.index(Record) < kinds.index(Play)
    assert actions[kinds.index(Play)].run.clips == ("tone",)  # type: ignore[union-attr]


def test_it_does_not_lose_the_instructions_to_a_second_nervous_key() -> None:
    caller = answered().press("111").to("take.free-urgent", Phase.RECORDING)
    assert caller.said("emergency-911-signs")
    assert caller.said("record-full")


def test_it_ignores_a_late_end_of_words_that_were_cut() -> None:
    caller = answered().to("greeting")
    stale = caller.state.token
    caller.send(Key("2"))
    before = caller.state
    assert caller.send(Played(stale)) == []
    assert caller.state == before


def test_it_answers_once() -> None:
    caller = answered()
    assert caller.send(Answered()) == []


def test_it_waits_for_nothing_before_the_answer() -> None:
    caller = Caller()
    assert caller.send(Key("1")) == []
    assert caller.send(Tick(5)) == []
    assert caller.state.kept == ""


# Languages.


def test_it_changes_the_language_at_key_2_of_the_first_words_and_remembers_it() -> None:
    caller = answered().press("2").to("menu", Phase.WAIT)
    assert caller.state.language == "es"
    assert {clip[:2] for clip in caller.heard[1:]} == {"es"}
    assert caller.heard[1:3] == ["es/language-set", "es/greeting-reached"]
    assert caller.notes("language:") == ["language:es"]
    assert Remember("es", False) in caller.actions


def test_it_means_the_menu_by_key_2_once_the_first_words_are_over() -> None:
    caller = answered().to("greeting").press("2")
    assert caller.state.language == "en"
    assert caller.state.node == "callback"


def test_it_speaks_the_language_of_the_last_call_first_and_offers_the_other() -> None:
    caller = answered(language="es")
    assert caller.heard == ["es/emergency-911"]
    caller.to("greeting")
    assert caller.heard[1:4] == ["en/emergency-911", "en/language-offer", "en/press-2"]
    caller = answered(language="es").press("2").to("greeting")
    assert caller.state.language == "en"


def test_it_offers_no_language_on_a_line_with_one() -> None:
    caller = answered(ONE).to("greeting")
    assert caller.heard[:2] == ["en/emergency-911", "en/greeting-reached"]
    caller = answered(ONE).press("2").wait(6_000)
    assert caller.state.node == "callback"


# Greetings.


@pytest.mark.parametrize("kind", Kind)
def test_it_greets_as_the_practice_is_at_this_moment(kind: Kind) -> None:
    caller = answered(kind=kind).to("menu")
    assert [clip for clip in caller.heard if clip == f"en/greeting-{kind.value}"]
    others = {f"greeting-{other.value}" for other in Kind} - {f"greeting-{kind.value}"}
    assert not others & set(heard_since(caller, 0))
    assert caller.said("greeting-reopen") == (kind in (Kind.LUNCH, Kind.HOLIDAY))
    assert caller.said("greeting-closure-visit") == (kind is Kind.CLOSURE)
    assert caller.said("greeting-on-call") == (kind in RESTS)


def test_it_never_offers_the_on_call_team_when_nobody_is_on_call() -> None:
    caller = answered(team=False).to("menu", Phase.WAIT).press("1").to("take.free-urgent", Phase.RECORDING)
    assert "urgent" in caller.notes()
    assert caller.said("emergency-911-signs")
    assert not caller.said("greeting-on-call")
    assert not caller.said("urgent-lead")


def test_it_says_the_help_lines_of_the_plan_after_the_greeting() -> None:
    words = heard_since(answered(ALL_WAYS).to("menu"), 0)
    assert words[words.index("menu-urgent") - 1] == "emergency-988"


def test_it_leads_from_the_greeting_to_the_number_where_there_is_no_menu() -> None:
    caller = answered(replace(ONE, keys=())).to("take", Phase.RECORDING)
    assert "stage:callback" in caller.notes()
    assert not caller.said("menu-repeat")


# The flood.


@pytest.mark.parametrize("keys", ["1234567890*", "#0", "12"])
def test_it_bears_a_thousand_keys_anywhere(keys: str) -> None:
    for callers in everywhere(config_of()).values():
        caller = callers[0].copy()
        for number in range(1000):
            caller.send(Key(keys[number % len(keys)]))
        caller.send(HungUp())
        assert len(caller.over().saves()) == 1


def test_it_comes_to_an_end_with_a_key_that_is_held_down() -> None:
    for key in "0123456789*#":
        caller = answered()
        while caller.state.phase != Phase.DONE and caller.now < 600_000:
            caller.press(key, gap=100)
        assert len(caller.over().saves()) == 1


# Numbers.


@pytest.mark.parametrize(
    ("digits", "is_one"),
    [("5035550134", True), ("503555013", False), ("50355501345", False), ("1035550134", False),
     ("5031550134", False), ("0035550134", False), ("", False)],
)  # fmt: skip
def test_it_knows_what_can_be_a_number(digits: str, is_one: bool) -> None:
    assert is_number(digits) is is_one


def test_it_waits_for_pound_nowhere_after_the_tone_but_takes_no_other_key() -> None:
    caller = at_tone()
    for key in "0123456789*ABCD":
        assert caller.send(Key(key)) == []
    assert caller.saves() == []
