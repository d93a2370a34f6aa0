"""Around the tone and the end: silence, limits, review, saving, the last words, and whatever may go wrong there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.flow.driver import CALLER, MESSAGE, NIGHT, Caller, at_tone, config_of

from nightbell.core.capture import EndReason
from nightbell.flow.model import (
    NO_PROMISE,
    Answered,
    Drain,
    Failed,
    HangUp,
    Hold,
    Key,
    Played,
    Promise,
    Record,
    Replay,
    Save,
    Saved,
    StopPlay,
    Sync,
    Synced,
    Taken,
    Tick,
    Told,
)
from nightbell.flow.plan import Plan
from nightbell.flow.turn import Phase

SHORT = replace(Plan(), max_seconds=60)
NO_REVIEW = replace(Plan(), review=False)


def reviewing() -> Caller:
    return at_tone().speak(5_000).press("#").to("review", Phase.WAIT)


def last_words(caller: Caller) -> list[str]:
    """What is said from "saved" on."""
    words = [clip.partition("/")[2] for clip in caller.heard]
    return [word for word in words[words.index("saved") :] if not word.startswith("digit-")]


# What is kept.


def test_it_says_saved_only_after_the_capture_is_on_disk() -> None:
    caller = at_tone(config_of(NO_REVIEW))
    caller.disk = False
    caller.speak(5_000)
    assert caller.send(Key("#"))[-1] == Save(EndReason.POUND, promised=True)
    caller.wait(5_000)
    assert not caller.said("saved")
    caller.send(Saved())
    assert caller.heard.count("en/saved") == 1


def test_it_promises_nothing_when_saving_fails() -> None:
    caller = at_tone(config_of(NO_REVIEW))
    caller.disk = False
    caller.speak(5_000).press("#")
    caller.send(Failed())
    assert not caller.said("saved")
    assert caller.heard[-1] == "en/trouble"
    assert caller.send(Played(caller.state.token)) == [HangUp()]


def test_it_tells_of_trouble_at_once_when_nothing_can_be_recorded() -> None:
    caller = Caller()
    caller.send(Answered(recordable=False))
    assert caller.heard == ["en/trouble"]
    assert caller.over().saves() == []


def test_it_says_the_second_number_in_trouble() -> None:
    caller = Caller(config_of(replace(Plan(), second="2125550177")))
    caller.send(Answered(recordable=False))
    assert caller.heard[:3] == ["en/trouble", "en/trouble-call", "en/digit-2"]


def test_it_counts_whoever_speaks_and_hangs_up_as_a_message() -> None:
    for ms in (2_000, 8_000, 40_000):
        caller = at_tone().speak(ms).hang_up().over()
        assert caller.saves() == [EndReason.HANG_UP]
        assert "unheard" not in caller.notes()
        assert caller.kind() == "message"


def test_it_counts_whoever_only_listens_as_missed() -> None:
    assert at_tone().wait(8_000).hang_up().over().kind() == "missed"
    assert Caller().answered().wait(3_000).hang_up().over().kind() == "missed"
    assert at_tone().over().kind() == "missed"


# Silence.


def test_it_gives_a_silent_caller_time_asks_once_and_then_says_that_it_knows_of_the_call() -> None:
    caller = at_tone()
    began = caller.state.part_at
    caller.wait(began + 12_000 - caller.now)
    assert caller.heard[-1] == "en/take-time"
    caller.to("silence")
    assert caller.now == began + 30_000
    caller.to("take-again", Phase.RECORDING)
    assert caller.heard[-2:] == ["en/silence-speak", "tone"]
    caller.over()
    assert caller.heard[-2:] == ["en/silence-end", "en/goodbye-care"]
    assert caller.saves() == [EndReason.SILENCE]
    assert caller.notes().count("unheard") == 1
    assert not caller.said("saved")


def test_it_does_not_call_it_silence_while_the_caller_speaks() -> None:
    caller = at_tone().speak(140_000)
    assert caller.at == ("take", Phase.RECORDING)
    assert not caller.said("take-time")


def test_it_meets_each_pause_with_patience_once() -> None:
    caller = at_tone().speak(5_000).wait(20_000).speak(5_000).wait(20_000)
    assert caller.heard.count("en/take-time") == 2
    assert caller.state.phase == Phase.RECORDING


def test_it_keeps_what_was_said_before_somebody_fell_silent() -> None:
    caller = at_tone().speak(5_000).to("review").over()
    assert last_words(caller)[0] == "saved"
    assert caller.saves() == [EndReason.SILENCE]
    assert caller.kind() == "message"


def test_it_waits_three_times_as_long_for_a_relay_operator() -> None:
    caller = at_tone(config_of(slow=True)).wait(85_000)
    assert caller.at == ("take", Phase.RECORDING)
    assert caller.heard.count("en/take-time") == 1


def test_it_never_scolds_for_silence_who_has_pressed_pound() -> None:
    caller = at_tone().wait(9_000).press("#").over()
    assert not caller.said("silence-speak")
    assert "unheard" not in caller.notes()
    assert caller.kind() == "missed"


# Limits.


def test_it_warns_before_the_limit_and_tells_of_the_end_when_all_is_on_disk() -> None:
    caller = at_tone()
    began, caller.disk, caller.speaking = caller.state.part_at, False, True
    caller.to("take", Phase.SYNCING)
    assert caller.now - began == 180_000
    assert [clip for clip in caller.heard if "/time-" in clip] == ["en/time-30", "en/time-10"]
    assert isinstance(caller.actions[-1], Sync)
    assert Hold() in caller.actions
    caller.wait(1_000)
    assert not caller.said("time-up")
    caller.send(Synced())
    assert caller.said("time-up")
    assert caller.state.node == "limit"


def test_it_takes_more_after_the_limit_and_ends_at_the_second_one() -> None:
    caller = at_tone(config_of(SHORT))
    caller.speaking = True
    caller.to("limit", Phase.WAIT).press("1").to("more", Phase.RECORDING)
    began = caller.state.part_at
    caller.to("more", Phase.SAVING)
    assert caller.now - began == 60_000
    assert caller.saves() == [EndReason.LIMIT]
    caller.over()
    assert caller.notes().count("part-end") == 2
    assert "part:more" in caller.notes()
    assert caller.said("saved")


def test_it_sends_what_was_said_when_nobody_wants_to_add_to_it() -> None:
    caller = at_tone(config_of(SHORT))
    caller.speaking = True
    caller.to("limit")
    caller.speaking = False
    caller.over()
    assert caller.kind() == "message"
    assert caller.saves() == [EndReason.LIMIT]


@pytest.mark.parametrize("event", [Key("#"), Key("1"), Synced()])
def test_it_waits_for_the_disk_at_the_limit_whatever_is_pressed(event: Key | Synced) -> None:
    caller = at_tone(config_of(SHORT))
    caller.disk, caller.speaking = False, True
    caller.to("take", Phase.SYNCING)
    caller.send(event)
    assert caller.notes().count("part-end") == 1
    assert caller.at == (("limit", Phase.WORDS) if isinstance(event, Synced) else ("take", Phase.SYNCING))


def test_it_takes_a_late_sync_for_nothing() -> None:
    caller = at_tone()
    assert caller.send(Synced()) == []
    assert reviewing().send(Synced()) == []


def test_it_asks_whether_a_very_short_word_was_all() -> None:
    caller = at_tone().speak(1_000).press("#")
    assert caller.state.node == "brief"
    caller.press("1").to("more", Phase.RECORDING).speak(4_000).press("#").over()
    assert [name for name in caller.notes("part:")] == ["part:message", "part:more"]
    assert caller.kind() == "message"


# Review.


def test_it_sends_at_key_1_and_when_nothing_is_pressed() -> None:
    assert last_words(reviewing().press("1").over())
    waited = reviewing().over()
    assert last_words(waited)
    assert "slow" not in waited.notes()


def test_it_plays_back_what_was_said_and_asks_again() -> None:
    caller = reviewing().press("2", gap=0)
    assert isinstance(caller.actions[-1], Replay)
    assert caller.state.node == "hear"
    assert not [one for one in caller.actions[caller.actions.index(Hold()) :] if isinstance(one, Record)]
    caller.to("review", Phase.WAIT).press("1").over()
    assert caller.kind() == "message"


def test_it_cuts_the_playback_at_a_key_and_acts_on_it() -> None:
    caller = reviewing().press("2")
    actions = caller.send(Key("1"))
    assert actions[0] == StopPlay()
    assert isinstance(actions[-1], Save)
    caller = reviewing().press("2")
    caller.send(Key("7"))
    assert caller.state.node == "review"


def test_it_records_anew_and_keeps_the_first_take() -> None:
    caller = reviewing().press("3").to("retake", Phase.RECORDING)
    assert [one for one in caller.actions if isinstance(one, Record)] == [
        Record(anew=True),
        Record(anew=True),
    ]
    caller.speak(4_000).press("#").over()
    assert caller.notes().index("take") > caller.notes().index("part-end")
    assert caller.kind() == "message"


@pytest.mark.parametrize("where", ["retake", "silence", "take-again", "over"])
def test_it_never_loses_the_first_take_to_a_silent_second_one(where: str) -> None:
    caller = reviewing().press("3")
    if where != "over":
        caller.to(where).wait(500).hang_up()
    caller.over()
    assert "unheard" not in caller.notes()
    assert not caller.said("silence-end")
    assert caller.kind() == "message"


def test_it_keeps_the_time_that_a_first_take_used_out_of_the_second_one() -> None:
    caller = at_tone(config_of(SHORT)).speak(50_000).press("#").to("review", Phase.WAIT).press("3")
    caller.to("retake", Phase.RECORDING).speak(40_000)
    assert caller.state.phase == Phase.RECORDING


def test_it_marks_as_urgent_at_key_4_and_says_so_once_the_alert_is_stored() -> None:
    caller = reviewing().press("4", gap=0)
    assert "urgent" in caller.notes()
    caller.to("send", Phase.CLOSING)
    caller.send(Taken(rings=True))
    assert last_words(caller.over())[1] == "marked-urgent"


@pytest.mark.parametrize("taken", [None, Taken(rings=False)])
def test_it_never_says_marked_urgent_before_the_alert_is_stored(taken: Taken | None) -> None:
    caller = reviewing().press("4", gap=0).to("send", Phase.CLOSING)
    if taken is not None:
        caller.send(taken)
    assert not caller.over().said("marked-urgent")


def test_it_offers_no_urgent_mark_twice() -> None:
    caller = Caller(config_of()).answered().to("greeting").press("1")
    caller.to("take.free-urgent", Phase.RECORDING).speak(5_000).press("#").to(
        "review.free-urgent", Phase.WAIT
    )
    assert not caller.said("review-urgent")
    assert caller.press("4").state.node == "review.free-urgent"


# The last words.


def closed(urgent: bool, promise: Promise, **more: object) -> Caller:
    caller = Caller(config_of(NO_REVIEW, **more)).answered().to("greeting")  # type: ignore[arg-type]
    caller.promise = promise
    caller.press("1" if urgent else "2")
    caller.to(f"take{'.free-urgent' if urgent else ''}", Phase.RECORDING).speak(5_000).press("#")
    return caller.over()


@pytest.mark.parametrize(
    ("urgent", "promise", "words"),
    [
        (True, Promise(urgent="within-30-min"),
         ["saved", "promise-from", "within-30-min", "promise-answer", "promise-worse", "goodbye-care"]),
        (True, NO_PROMISE, ["saved", "promise-answer", "promise-worse", "goodbye-care"]),
        (True, Promise(routine="promise-open-day", team=False),
         ["saved", "promise-from", "promise-open-day", "emergency-room", "promise-worse", "goodbye-care"]),
        (True, Promise(team=False), ["saved", "emergency-room", "promise-worse", "goodbye-care"]),
        (False, Promise(routine="promise-open-day"),
         ["saved", "promise-from", "promise-open-day", "promise-none", "goodbye"]),
        (False, NO_PROMISE, ["saved", "goodbye"]),
        (False, Promise(urgent="within-30-min"), ["saved", "goodbye"]),
    ],
)  # fmt: skip
def test_it_says_what_can_truthfully_be_said_at_the_end(
    urgent: bool, promise: Promise, words: list[str]
) -> None:
    assert last_words(closed(urgent, promise)) == words


def test_it_promises_no_time_without_the_number_that_will_call() -> None:
    config = replace(config_of(NO_REVIEW), number="")
    caller = at_tone(config).speak(5_000).press("#").over()
    assert last_words(caller) == ["saved", "goodbye"]


def test_it_asks_for_a_promise_only_where_one_is_spoken() -> None:
    def promised(caller: Caller) -> list[bool]:
        return [one.promised for one in caller.actions if isinstance(one, Save)]

    assert promised(closed(True, NO_PROMISE)) == [True]
    assert promised(at_tone().speak(3_000).hang_up()) == [False]
    assert promised(at_tone().over()) == [False]


@pytest.mark.parametrize(("rings", "noted"), [(True, True), (False, False), (None, False)])
def test_it_notes_that_it_got_worse_when_the_team_is_rung_again(rings: bool | None, noted: bool) -> None:
    caller = Caller(config_of()).answered().to("greeting").press("3")
    caller.answer, caller.promise = Told("heard", NIGHT, MESSAGE), Promise(team=False)
    caller.press(CALLER).to("status-heard", Phase.WAIT).press("1").to("take-worse", Phase.RECORDING)
    caller.speak(5_000).press("#", gap=0).to("send-worse", Phase.CLOSING)
    if rings is not None:
        caller.send(Taken(rings))
    words = last_words(caller.over())
    assert ("worse-noted" in words) is ("promise-answer" in words) is noted
    assert words[-1] == "goodbye-care"


# A full system.


def test_it_takes_a_short_message_when_the_system_is_full() -> None:
    caller = Caller(config_of(busy=True)).answered().to("take", Phase.RECORDING)
    assert caller.heard == ["en/busy-short", "tone"]
    began, caller.speaking = caller.state.part_at, True
    caller.over()
    assert caller.stopped_at - began == 60_000
    assert caller.heard[-1] == "en/busy-saved"
    assert "short" in caller.notes()
    assert caller.kind() == "message"


def test_it_is_as_short_for_the_slow_when_the_system_is_full() -> None:
    config = config_of(busy=True, slow=True)
    assert config.timing.limit == (60_000, 60_000)


def test_it_stops_speaking_when_the_message_ends() -> None:
    caller = at_tone().wait(12_000)
    assert caller.state.playing is not None
    assert StopPlay() in caller.send(Key("#"))


def test_a_full_system_does_not_tell_a_silent_caller_that_something_is_saved() -> None:
    caller = Caller(config_of(busy=True)).answered().over()
    assert not caller.said("busy-saved")
    assert caller.said("silence-end")
    assert "short" in [note.partition(":")[0] for note in caller.notes()]


def test_a_drain_tells_nobody_who_was_silent_that_something_is_saved() -> None:
    silent, speaking = at_tone().to("take", Phase.RECORDING), at_tone().to("take", Phase.RECORDING)
    speaking.speak(1_000)
    for caller in (silent, speaking):
        caller.send(Tick(caller.now if caller is speaking else None))
        caller.send(Drain())
        caller.over()
    assert not silent.said("saved")
    assert silent.said("trouble")
    assert speaking.said("saved")
