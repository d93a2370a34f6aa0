"""A call that a provider carries: every way through it ends, and it says what the phone's way says."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace

import pytest
from tests.unit.flow.driver import (
    ALL_WAYS,
    CALLER,
    KNOWN,
    MESSAGE,
    NIGHT,
    PRACTICE,
    ZONE,
    Caller,
    situation_of,
)

from nightbell.core.capture import EndReason
from nightbell.core.carriers import Abilities, Pressed, Spoken
from nightbell.flow import provider
from nightbell.flow.line import Line, always_closed
from nightbell.flow.model import CallConfig, Promise, Save, Told
from nightbell.flow.plan import Plan
from nightbell.flow.provider import Onward, Progress, Question, Recording, Say, Script
from nightbell.flow.stored import progress_from_dict, progress_to_dict
from nightbell.flow.turn import Phase

EARS, NO_EARS = Abilities(True), Abilities(False)


def promise(_save: Save) -> tuple[Promise, str]:
    return KNOWN, "promise:within-30-min:-"


def config_of(plan: Plan, can: Abilities = EARS, caller: str = CALLER) -> CallConfig:
    line = provider.adapted(Line("p", ZONE, PRACTICE, 1, plan, always_closed(ZONE), True), can)
    return line.config(caller, NIGHT, situation=situation_of())


def script_of(config: CallConfig, here: Progress) -> Script:
    """As two requests do it: the progress is stored in between."""
    kept = progress_from_dict(json.loads(json.dumps(progress_to_dict(here))))
    assert kept == here
    return provider.script(config, kept, promise)


def ways_on(config: CallConfig, script: Script) -> list[Progress]:
    """All that can happen at the steps of a script."""
    found = []
    for step in script.steps:
        if isinstance(step, Question):
            place = script.places[step.at]
            for answer in (
                Pressed(""),
                *(Pressed(key) for key in "0123456789*#"),
                Pressed(CALLER),
                Pressed("12", True),
            ):
                found.append(provider.pressed(config, place, answer, promise))
        elif isinstance(step, Recording):
            place = script.places[step.at]
            answers = [
                Spoken(),
                *(
                    Spoken(seconds, by)
                    for seconds in (1, 40, step.seconds)
                    for by in ("pound", "hang_up", "")
                ),
            ]
            found += [provider.spoken(config, place, answer, promise) for answer in answers]
        elif isinstance(step, Onward):
            place = script.places[step.at]
            if place.asking is None:
                found.append(place)
                continue
            for state in ("waiting", "heard", "owned", "done", "none"):
                found.append(provider.told(config, place, Told(state, NIGHT, MESSAGE), promise))
    for lasted in (None, 0, 3_000, 600_000):
        found.append(provider.hung_up(config, script.after, lasted, promise))
    return found


def key_of(here: Progress) -> tuple[object, ...]:
    state = here.state
    return (
        state.node,
        state.phase,
        state.language,
        state.counts[-2:],
        len(state.entered),
        here.takes,
        state.urgent,
    )


@pytest.mark.parametrize("can", [EARS, NO_EARS])
@pytest.mark.parametrize("caller", [CALLER, ""])
def test_every_way_ends_and_closes_its_capture_once(can: Abilities, caller: str) -> None:
    config = config_of(ALL_WAYS, can, caller)
    queue, seen, ends = deque([provider.answered(config)]), set[tuple[object, ...]](), 0
    while queue and len(seen) < 700:
        here = queue.popleft()
        if key_of(here) in seen:
            continue
        seen.add(key_of(here))
        script = script_of(config, here)
        assert script.steps
        if script.after.over:
            ends += 1
            assert script.after.ended is not None
            assert sum(name.startswith("promise:") for _, name in script.after.marks) <= 1
            assert [at for at, _ in script.after.marks] == sorted(at for at, _ in script.after.marks)
            continue
        assert isinstance(script.steps[-1], Question | Recording | Onward)
        queue += ways_on(config, script)
    assert ends > 20
    if can is NO_EARS:
        assert not any("guided" in str(one[0]) or "dob" in str(one[0]) for one in seen)


def test_who_does_nothing_comes_to_the_tone_and_to_the_end() -> None:
    config = config_of(Plan())
    here = provider.answered(config)
    for _ in range(12):
        script = script_of(config, here)
        if script.after.over:
            break
        step = script.steps[-1]
        place = script.places[getattr(step, "at", 0)]
        if isinstance(step, Recording):
            here = provider.spoken(config, place, Spoken(), promise)
        else:
            here = provider.pressed(config, place, Pressed(), promise)
    assert script.after.over
    assert script.after.takes == 2
    assert script.after.ended is not None and script.after.ended[1] is EndReason.SILENCE


def test_it_says_what_the_phone_says_and_notes_what_the_phone_notes() -> None:
    """An urgent call, key by key, on the machine of the phone and through scripts."""
    plan = replace(Plan(), review=False)
    caller = Caller(replace(config_of(plan)))
    caller.answered().to("menu").press("1").to("callback.free-urgent").press("1").to(
        "take.free-urgent", Phase.RECORDING
    )
    caller.speak(8_000).press("#").over()
    config = config_of(plan)
    here, said = provider.answered(config), list[str]()
    answers = {"menu-urgent": "1", "callback-seen": "1"}
    for _ in range(10):
        script = script_of(config, here)
        for step in script.steps:
            said += [clip for clip in getattr(step, "clips", ()) if not clip.startswith("~")]
            keys = [answers[c[3:]] for c in getattr(step, "clips", ()) if c[3:] in answers]
            if isinstance(step, Question) and keys:
                here = provider.pressed(config, script.places[step.at], Pressed(keys[0]), promise)
                break
            if isinstance(step, Recording):
                here = provider.spoken(config, script.places[step.at], Spoken(8, "pound"), promise)
                break
        else:
            break
    heard = [clip for clip in caller.heard if clip != "tone"]
    assert said[said.index("en/urgent-lead") :] == heard[heard.index("en/urgent-lead") :]
    assert [
        name for _, name in script.after.marks if not name.startswith(("stage", "recording", "promise"))
    ] == [name for name in caller.notes() if not name.startswith(("stage", "promise"))]


def test_words_that_no_key_may_cut_stand_outside_of_questions() -> None:
    script = script_of(config_of(Plan()), provider.answered(config_of(Plan())))
    kept = {clip for step in script.steps if isinstance(step, Say) for clip in step.clips}
    asked = {clip for step in script.steps if isinstance(step, Question) for clip in step.clips}
    assert {"en/emergency-911", "es/emergency-911"} <= kept
    assert not any("emergency" in clip for clip in asked)


def test_a_number_of_eleven_digits_is_taken_whole() -> None:
    config = config_of(Plan(), caller="")
    here = provider.pressed(
        config, script_of(config, provider.answered(config)).places[2], Pressed("2"), promise
    )
    script = script_of(config, here)
    question = next(step for step in script.steps if isinstance(step, Question))
    assert (question.most, question.last) == (10, True)
    here = provider.pressed(config, script.places[question.at], Pressed("1" + CALLER[:9]), promise)
    script = script_of(config, here)
    question = next(step for step in script.steps if isinstance(step, Question))
    assert question.most == 1
    here = provider.pressed(config, script.places[question.at], Pressed(CALLER[9:]), promise)
    assert here.state.entered == CALLER
    assert here.state.node.startswith("callback-confirm")


def test_a_call_too_short_for_the_recording_waits_for_none() -> None:
    config = config_of(Plan())
    here = provider.answered(config)
    while True:
        script = script_of(config, here)
        if isinstance(script.steps[-1], Recording):
            break
        here = provider.pressed(config, script.places[-1], Pressed(), promise)
    tone = script.places[script.steps[-1].at].now
    assert provider.hung_up(config, here, tone - 10_000, promise).takes == 0
    assert provider.hung_up(config, here, tone + 5_000, promise).takes == 1
    assert provider.hung_up(config, here, None, promise).takes == 1
