"""Callers of any behaviour: each ends as a message, a missed call or a status call, and none as nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.unit.flow.driver import ALL_WAYS, CALLER, MESSAGE, NIGHT, Caller, config_of

from nightbell.core.capture import EndReason
from nightbell.flow.hours import Kind
from nightbell.flow.model import Answered, CallConfig, Drain, Event, Failed, HungUp, Key, Played, Taken, Told
from nightbell.flow.plan import Plan
from nightbell.flow.turn import OVER, Phase

PLANS = {
    "default": Plan(),
    "all ways": ALL_WAYS,
    "Spanish alone": Plan(languages=("es",)),
    "no menu": Plan(languages=("en",), keys=()),
    "no review": Plan(review=False, max_seconds=30),
    "no number": Plan(callback=False, max_seconds=600),
    "bare": Plan(languages=("en",), keys=Plan().keys[:2], callback=False, review=False),
    "Spanish first": replace(ALL_WAYS, languages=("es", "en"), callback=False),
}
STATES = ["waiting", "waiting_open", "left", "heard", "owned", "tried", "done", "none", "nonsense"]
ANSWERS = st.none() | st.builds(
    Told, st.sampled_from(STATES), st.sampled_from([None, NIGHT]), st.sampled_from(["", MESSAGE])
)
CONFIGS: st.SearchStrategy[CallConfig] = st.builds(
    config_of,
    plan=st.sampled_from(list(PLANS.values())),
    caller=st.sampled_from([CALLER, ""]),
    kind=st.sampled_from(Kind),
    language=st.sampled_from(["", "es"]),
    slow=st.booleans(),
    busy=st.integers(0, 9).map(lambda one: one == 0),
    team=st.booleans(),
)
ACTS: st.SearchStrategy[tuple[str, object]] = st.one_of(
    st.tuples(st.just("speak"), st.sampled_from([300, 2_000, 9_000, 40_000, 200_000])),
    st.tuples(st.just("wait"), st.sampled_from([50, 1_500, 7_000, 20_000, 45_000, 120_000])),
    st.tuples(st.just("press"), st.text("1234567890*#A", min_size=1, max_size=3)),
    st.tuples(st.just("press"), st.sampled_from(["3" + CALLER, "2" + CALLER, "1" + CALLER, CALLER, "1", "2", "3", "#"])),
    st.tuples(st.just("until asked"), st.sampled_from("1234#")),
    st.tuples(st.just("send"), st.builds(Played, st.integers(0, 40))),
    st.tuples(st.just("send"), st.sampled_from([Answered(), Taken(True), Taken(False), Told("owned", NIGHT)])),
)  # fmt: skip
OPENINGS: list[list[tuple[str, object]]] = [
    [],
    [("until asked", "3"), ("press", CALLER), ("wait", 7_000)],
    [("until asked", "3"), ("press", CALLER), ("until asked", "1")],
    [("until asked", "2"), ("until asked", "1"), ("wait", 20_000)],
    [("until asked", "4"), ("until asked", "1"), ("wait", 20_000), ("speak", 2_000)],
    [("press", "0"), ("wait", 9_000), ("speak", 9_000)],
]
LAST = st.sampled_from([None, None, HungUp(), HungUp(), Drain(), Failed()])
Acts = list[tuple[str, object]]


def behave(caller: Caller, acts: Acts) -> None:
    for what, how in acts:
        if what == "speak":
            caller.speak(int(str(how)))
        elif what == "wait":
            caller.wait(int(str(how)))
        elif what == "press":
            caller.press(str(how), gap=120)
        elif what == "until asked":
            _until_asked(caller)
            caller.send(Key(str(how)))
        elif isinstance(how, Event):
            caller.send(how)


def _until_asked(caller: Caller) -> None:
    """Listen until the line waits for the caller, as most people do."""
    for _ in range(40):
        if caller.state.phase in (Phase.WAIT, Phase.DIGITS, Phase.RECORDING) or caller.state.phase in OVER:
            return
        caller._next(caller.now + 60_000)


def check(caller: Caller, failed: bool) -> None:
    """What must be so of every call that is over. The driver has looked after each step."""
    assert caller.state.phase == Phase.DONE
    if not caller.saves():
        assert failed
        assert caller.said("trouble") or caller.state.gone
        return
    assert caller.saves()[0] in set(EndReason) - {EndReason.INTERRUPTED}
    if failed and not caller.saved:
        return
    assert caller.saved
    kind = caller.kind()
    event(kind)
    spoken = sum(end - start for start, end in caller.voice)
    asked = bool(caller.notes("status:"))
    if spoken >= 1_200:
        assert kind == "message"
    elif spoken == 0:
        assert kind in ("missed", "status")
    if kind == "status":
        assert asked
        assert not caller.notes("part:")
    if caller.said("silence-end"):
        assert kind == "missed"


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)  # fmt: skip
@given(CONFIGS, st.sampled_from(OPENINGS), st.lists(ACTS, max_size=14), LAST, ANSWERS)
def test_it_ends_every_call_once_and_makes_something_of_it(
    config: CallConfig, opening: Acts, acts: Acts, last: Event | None, answer: Told | None
) -> None:
    caller = Caller(config).answered()
    caller.answer = answer
    behave(caller, opening + acts)
    if last is not None:
        caller.send(last)
    alone = caller.now
    caller.over()
    assert caller.now - alone <= 40 * 60_000
    check(caller, failed=isinstance(last, Failed))


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)  # fmt: skip
@given(
    CONFIGS,
    st.lists(ACTS, max_size=8),
    st.integers(2_000, 60_000),
    st.sampled_from([HungUp(), Key("#"), None]),
)
def test_it_makes_a_message_of_whoever_speaks_after_a_tone(
    config: CallConfig, acts: Acts, ms: int, last: Event | None
) -> None:
    caller = Caller(config).answered()
    behave(caller, acts)
    for _ in range(400):
        if caller.state.phase == Phase.RECORDING or not caller._next(caller.now + 3_600_000):
            break
    reached = caller.state.phase == Phase.RECORDING
    caller.speak(ms)
    if last is not None:
        caller.send(last)
    caller.over()
    if reached:
        assert caller.kind() == "message"


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize(("number", "keys"), [(CALLER, "0"), (CALLER, "20"), ("", "0")])
def test_it_comes_to_the_tone_within_fifteen_seconds_with_911_said(
    plan: str, language: str, number: str, keys: str
) -> None:
    for kind in Kind:
        config = config_of(PLANS[plan], number, language=language, kind=kind)
        caller = Caller(config).answered().press(keys[0])
        if keys[1:] and len(PLANS[plan].languages) > 1:
            caller.to("language").press(keys[1:])
        else:
            caller.press(keys[1:])
        caller.to("take")
        assert caller.tone_at is not None
        assert caller.tone_at < 15_000
        assert caller.heard[0].endswith("/emergency-911")
        assert caller.said("notice-recorded")


def test_it_comes_to_the_tone_when_nothing_can_be_recorded_with_words_of_trouble_alone() -> None:
    caller = Caller()
    caller.send(Answered(recordable=False))
    behave(caller, [("press", "0"), ("speak", 5_000)])
    caller.over()
    assert caller.tone_at is None
    assert caller.heard == ["en/trouble"]
