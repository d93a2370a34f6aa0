"""Recording a clip by telephone: nothing is kept without the key, and nothing is claimed that is not so."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.flow.driver import CALLER, NIGHT, PRACTICE, ZONE, Caller, everywhere

from nightbell.core.capture import EndReason
from nightbell.flow import walk
from nightbell.flow.clips import manifest
from nightbell.flow.line import Line, always_closed
from nightbell.flow.model import CallConfig, Drain, Failed, State
from nightbell.flow.plan import Plan
from nightbell.flow.turn import Phase
from nightbell.flow.words import runs

KEEP = "studio-keep"


def line_of(**more: Any) -> Line:
    line = {"studio": "own-greeting-closed", "language": "es", "test": True} | more
    return Line("p", ZONE, PRACTICE, 0, Plan(review=False), always_closed(ZONE), **line)


def config_of(busy: bool = False, **more: Any) -> CallConfig:
    return line_of(**more).config(CALLER, NIGHT, busy=busy)


def recorded() -> Caller:
    """A caller who has said it and pressed pound."""
    caller = Caller(config_of()).answered().to("take", Phase.RECORDING).speak(4_000)
    return caller.press("#").to("review", Phase.WAIT)


def test_it_is_kept_by_its_key_and_said_only_when_it_is_on_disk() -> None:
    caller = recorded()
    caller.disk = False
    caller.press("2").wait(5_000)
    assert caller.notes(KEEP) == [KEEP]
    assert not caller.said("studio-kept")
    caller.send(Failed())
    assert not caller.over().said("studio-kept")
    kept = recorded().press("2").over()
    assert kept.heard[-2:] == ["es/studio-kept", "es/goodbye"]
    assert kept.saves() == [EndReason.POUND]


def test_without_the_key_nothing_is_kept_and_nothing_is_claimed() -> None:
    for caller in (recorded(), recorded().press("1").to("review", Phase.WAIT), recorded().press("9")):
        caller.over()
        assert caller.notes(KEEP) == []
        assert caller.heard[-1] == "es/goodbye"
    silent = Caller(config_of()).answered().over()
    drained = recorded()
    drained.send(Drain())
    for caller in (silent, drained.over(), recorded().hang_up().over()):
        assert caller.notes(KEEP) == []
        assert not any(caller.said(clip) for clip in ("saved", "studio-kept", "promise-from", "time-up"))
        assert len(caller.saves()) == 1


def test_it_is_heard_and_recorded_again() -> None:
    caller = recorded().press("1").to("hear").to("review", Phase.WAIT).press("3")
    caller.to("retake", Phase.RECORDING).speak(3_000).press("#").to("review", Phase.WAIT).press("2").over()
    assert caller.notes("take") == ["take"]
    assert caller.notes(KEEP) == [KEEP]


def test_two_minutes_are_the_most_and_end_without_a_word_of_saving() -> None:
    caller = Caller(config_of()).answered().to("take", Phase.RECORDING)
    caller.speaking = True
    caller.to("review")
    caller.speaking = False
    assert 119_000 < caller.now - (caller.tone_at or 0) < 125_000
    for _ in range(3):
        if caller.state.phase != Phase.DONE:
            caller.to("review", Phase.WAIT).press("3").to("retake", Phase.RECORDING)
            caller.speaking = True
            caller.wait(130_000)
            caller.speaking = False
    caller.over()
    assert not any(caller.said(clip) for clip in ("saved", "time-up", "studio-kept"))


def test_a_full_system_records_it_all_the_same() -> None:
    assert config_of(busy=True).graph.start == "first"
    assert "keep" in config_of(busy=True).graph.nodes
    assert config_of(busy=True, studio="").graph.start == "busy"


@pytest.mark.parametrize("language", ["en", "es"])
def test_every_node_is_reached_leads_on_and_has_its_words(language: str) -> None:
    config = config_of(language=language)
    assert set(everywhere(config)) == set(config.graph.nodes)
    for node in config.graph.nodes.values():
        assert set(walk.targets(node)) <= set(config.graph.nodes)
        for run in runs(getattr(node, "words", ()), config, State(language=language)):
            named = [clip for clip in run.clips if not clip.startswith("~")]
            assert all(clip.startswith(f"{language}/") and manifest().frames.get(clip) for clip in named)


def test_every_way_ends_with_one_saved_call() -> None:
    for caller in (one for ones in everywhere(config_of()).values() for one in ones):
        assert len(caller.over().saves()) == 1


def entry() -> dict[str, Any]:
    return {
        "practice": "p", "zone": ZONE, "number": PRACTICE, "flow": 0, "plan": Plan().to_dict(), "holidays": {},
        "known_until": "2027-12-31", "closures": [], "team": True, "promise": {"urgent": "", "routine": ""},
        "test": True,
    }  # fmt: skip


def test_it_is_read_from_the_snapshot_and_older_ones_are_read_too() -> None:
    line = Line.from_dict(entry() | {"studio": "own-key-3", "language": "en"})
    assert (line.studio, line.language) == ("own-key-3", "en")
    assert line.config("", NIGHT).languages == ("en",)
    assert (Line.from_dict(entry()).studio, Line.from_dict(entry()).language) == ("", "")
    for language in ("", "fr"):
        with pytest.raises(ValueError, match="language"):
            Line.from_dict(entry() | {"studio": "own-key-3", "language": language})
