"""The end of a call at every place of the flow: hang-up, a stopping process, a failing disk, late answers."""

from __future__ import annotations

from tests.unit.flow.driver import ALL_WAYS, Caller, at_tone, config_of, everywhere

from nightbell.core.capture import EndReason
from nightbell.flow.model import Answered, Drain, Failed, HangUp, HungUp, Note, Played, Save, Saved, Synced
from nightbell.flow.plan import Plan
from nightbell.flow.turn import Phase


def everyone() -> list[tuple[str, Caller]]:
    """A caller at every node of two flows, as often as something happens there."""
    found = []
    for plan, more in ((Plan(), {}), (ALL_WAYS, {}), (Plan(), {"busy": True}), (Plan(), {"caller": ""})):
        config = config_of(plan, **more)  # type: ignore[arg-type]
        reached = everywhere(config)
        assert set(config.graph.nodes) == set(reached)
        found += [(f"{name}, {one.state.phase}", one) for name, ones in reached.items() for one in ones]
    return found


EVERYONE = everyone()


def ways(*names: str) -> list[tuple[str, Caller]]:
    return [(where, one.copy()) for where, one in EVERYONE if where.partition(", ")[2] not in names]


BEFORE_THE_END = (Phase.SAVING, Phase.CLOSING, Phase.LAST)


def test_it_keeps_the_capture_when_the_caller_hangs_up_anywhere() -> None:
    for where, caller in ways(*BEFORE_THE_END):
        heard = len(caller.heard)
        actions = caller.send(HungUp())
        assert isinstance(actions[-1], Save), where
        assert actions[-1].reason is EndReason.HANG_UP, where
        caller.over()
        assert len(caller.heard) == heard, where


def test_it_ends_once_when_the_caller_hangs_up_after_the_message() -> None:
    for where, caller in ways():
        caller.hang_up().hang_up().over()
        assert len(caller.saves()) == 1, where
        assert caller.actions[-1] == HangUp(), where


def test_it_keeps_the_capture_when_the_process_stops_anywhere() -> None:
    for where, caller in ways(*BEFORE_THE_END):
        recorded, spoke = caller.state.recorded, caller.state.said
        kinds = [type(one) for one in caller.send(Drain())]
        assert kinds[-1] is Save, where
        caller.over()
        assert caller.saves() == [EndReason.DRAIN], where
        assert caller.said("saved") != caller.said("trouble"), where
        assert recorded or caller.said("trouble"), where
        assert not spoke or caller.said("saved"), where
        assert "unheard" not in caller.notes(), where


def test_it_says_no_last_words_when_the_process_stops_meanwhile() -> None:
    for where, caller in ways():
        if caller.state.phase in (Phase.CLOSING, Phase.LAST):
            assert caller.send(Drain()) == [HangUp()], where
        elif caller.state.phase == Phase.SAVING:
            assert caller.send(Drain()) == [], where


def test_it_tells_of_trouble_when_the_disk_fails_anywhere() -> None:
    for where, caller in ways(Phase.CLOSING, Phase.LAST):
        caller.send(Failed())
        assert caller.said("trouble"), where
        caller.disk = False
        caller._answers.clear()
        caller.over()
        assert not caller.said("saved"), where


def test_it_says_nothing_more_of_the_disk_once_all_is_on_it() -> None:
    for where, caller in ways():
        if caller.state.phase in (Phase.CLOSING, Phase.LAST):
            assert caller.send(Failed()) == [], where


def test_it_speaks_to_nobody_who_is_gone() -> None:
    caller = at_tone()
    caller.disk = False
    caller.speak(3_000).hang_up()
    heard = len(caller.heard)
    assert caller.send(Failed()) == [HangUp()]
    assert len(caller.heard) == heard
    assert not [one for one in caller.send(Saved()) if isinstance(one, Note)]


def test_it_ignores_a_late_end_of_words_anywhere() -> None:
    for where, caller in ways():
        before = caller.state
        for token in (before.token - 1, before.token + 7, -1):
            assert caller.send(Played(token)) == [], where
        assert caller.state == before, where


def test_it_ignores_answers_that_nobody_waits_for() -> None:
    for where, caller in ways(Phase.SAVING, Phase.SYNCING):
        before = caller.state
        assert caller.send(Saved()) == [], where
        assert caller.send(Synced()) == [], where
        assert caller.send(Answered()) == [], where
        assert caller.state == before, where
