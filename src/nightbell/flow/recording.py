"""The machine around the tone and the end: recording, silence, limits, saving, and the last words."""

from __future__ import annotations

from nightbell.core.capture import EndReason
from nightbell.flow import phrases
from nightbell.flow.graph import Closing, End, Take, Words
from nightbell.flow.model import (
    Drain,
    Failed,
    HangUp,
    Hold,
    HungUp,
    Note,
    Record,
    Save,
    Saved,
    Sync,
    Synced,
)
from nightbell.flow.turn import OVER, Phase, Turn

LOOK_AGAIN = 20  # ms, at the least
FIRST_WORDS = 8_000  # ms after the tone in which no warning talks over a patient
_SAID_AT_ONCE = (Closing.SILENCE, Closing.BUSY, Closing.STATUS, Closing.STUDIO, Closing.UNKEPT)


def begin(turn: Turn, node: Take) -> None:
    """The recorder runs before the tone does."""
    if node.again:
        turn.do(Note("take"))
        turn.set(used=0)
    turn.set(phase=Phase.TONE, kept="", part_at=turn.now, heard=False, took_time=False, warned=0)
    turn.do(Record(anew=node.again or not turn.state.recorded))
    turn.set(recorded=True)
    turn.do(Note(f"part:{node.part.value}"))
    turn.say(("tone",))


def words_over(turn: Turn) -> None:
    """Something was said to its end, in a phase that is not the graph's."""
    phase = turn.state.phase
    if phase == Phase.TONE:
        turn.set(phase=Phase.RECORDING)
        watch(turn, None)
    elif phase == Phase.CLOSING:
        _last_words(turn)
    elif phase in (Phase.LAST, Phase.TROUBLE):
        done(turn)


def watch(turn: Turn, voice_at: int | None) -> None:
    """Limit, warnings and silence while recording; sets the time of the next look."""
    node, state, timing = turn.node, turn.state, turn.config.timing
    if not isinstance(node, Take):
        return
    began = state.part_at
    if voice_at is not None and voice_at >= began:
        turn.set(heard=True, said=True)
    quiet_since = voice_at if turn.state.heard and voice_at is not None else began
    ends = began + timing.limit[state.slow] - state.used
    quiet_ends = quiet_since + _patience(turn, node)
    if turn.now >= ends:
        _limit(turn, node)
        return
    if turn.now >= quiet_ends:
        part_over(turn, node, pound=False)
        return
    looks = [ends, quiet_ends]
    if not node.guided:
        looks += _take_your_time(turn, quiet_since)
    elif not turn.state.heard:
        looks.append(
            turn.now + timing.guided_pause[state.slow]
        )  # a short answer must not wait as silence does
    looks += _warn(turn, ends)
    turn.set(wake=max(min(looks), turn.now + LOOK_AGAIN))


def _patience(turn: Turn, node: Take) -> int:
    timing, slow = turn.config.timing, turn.state.slow
    if node.guided:
        return (timing.guided_pause if turn.state.heard else timing.guided_silence)[slow]
    return timing.end_silence[slow]


def _take_your_time(turn: Turn, quiet_since: int) -> list[int]:
    """A pause is met with patience, once for each."""
    pause = turn.config.timing.take_time[turn.state.slow]
    if turn.now - quiet_since < pause:
        turn.set(took_time=False)
        return [quiet_since + pause]
    if not turn.state.took_time:
        turn.set(took_time=True)
        turn.say(("take-time",), keep_phase=True)
    return []


def _warn(turn: Turn, ends: int) -> list[int]:
    """The maximum length is warned of before it cuts, but not over the first words."""
    first = ends - turn.state.part_at - FIRST_WORDS
    warn = tuple(before for before in turn.config.timing.warn if before <= first)
    if turn.state.warned < len(warn) and turn.now >= ends - warn[turn.state.warned]:
        turn.set(warned=turn.state.warned + 1)
        turn.say((f"time-{warn[turn.state.warned - 1] // 1000}",), keep_phase=True)
    return [ends - before for before in warn[turn.state.warned :]]


def _close_part(turn: Turn) -> None:
    turn.silence()
    turn.do(Note("part-end"))
    turn.do(Hold())
    spoken = turn.now - turn.state.part_at if turn.state.heard else 0  # silence uses up nothing
    turn.set(used=turn.state.used + spoken, wake=None)


def part_over(turn: Turn, node: Take, pound: bool) -> None:
    """The caller pressed pound, or has been silent for long."""
    length = turn.now - turn.state.part_at
    _close_part(turn)
    turn.set(reason=EndReason.POUND if pound else EndReason.SILENCE)
    if pound:
        turn.set(said=True)  # who presses pound has done something: never scold for silence
    if pound and node.brief and length < turn.config.timing.brief:
        turn.go(node.brief)
    elif turn.state.heard or (pound and not node.guided) or (node.guided and turn.state.said):
        turn.go(node.then)
    else:
        turn.go(node.silent)


def _limit(turn: Turn, node: Take) -> None:
    """Told only when it is true: what was said is on disk first. A second limit ends the message."""
    _close_part(turn)
    turn.set(said=True, reason=EndReason.LIMIT)
    turn.count("limits")
    if turn.counted("limits") > 1:
        end(turn, EndReason.LIMIT)
        return
    turn.set(phase=Phase.SYNCING, used=0)
    turn.do(Sync())


def synced(turn: Turn, _event: Synced) -> None:
    node = turn.node
    if turn.state.phase == Phase.SYNCING and isinstance(node, Take):
        turn.go(node.limit)


def end(turn: Turn, reason: EndReason) -> None:
    """Close the capture, whatever is in it. The caller hears the rest only when it is on disk."""
    node, state = turn.node, turn.state
    closing = node.closing if isinstance(node, End) else turn.config.graph.closing
    if closing is Closing.SILENCE and state.said:
        closing = Closing.PROMISE  # nothing in the new take, but an earlier one is kept
    elif closing is Closing.SILENCE:
        reason = EndReason.SILENCE
    # In the middle of a part nobody has listened since the last look: whoever speaks and hangs up was not silent.
    listened = state.phase not in (Phase.TONE, Phase.RECORDING)
    if state.recorded and not state.said and listened and reason is not EndReason.DRAIN:
        turn.do(Note("unheard"))
    turn.silence()
    turn.set(phase=Phase.SAVING, reason=reason, closing=closing.value, wake=None, kept="")
    promised = closing is Closing.PROMISE and not state.gone and reason is not EndReason.DRAIN
    turn.do(Save(reason, state.urgent, promised))


def hung_up(turn: Turn, _event: HungUp) -> None:
    state = turn.state
    turn.set(gone=True, playing=None, rest=())
    if state.phase == Phase.SAVING:
        return  # Saved or Failed will come
    if state.phase in OVER:
        done(turn)
    else:
        end(turn, EndReason.HANG_UP)


def drained(turn: Turn, _event: Drain) -> None:
    if turn.state.phase in (Phase.CLOSING, Phase.LAST, Phase.TROUBLE):
        done(turn)
    elif turn.state.phase != Phase.SAVING:
        end(turn, EndReason.DRAIN)


def saved(turn: Turn, event: Saved) -> None:
    state = turn.state
    if state.phase != Phase.SAVING:
        return
    if state.gone:
        done(turn)
        return
    if state.reason is EndReason.DRAIN and not state.said:
        trouble(turn)  # we stop, and this caller has said nothing yet: nothing of theirs is "saved"
        return
    turn.set(phase=Phase.CLOSING, promise=event.promise)
    turn.say(_first_of_the_last(turn))


def _first_of_the_last(turn: Turn) -> Words:
    state = turn.state
    closing = Closing(state.closing)
    if closing is Closing.STUDIO:
        return ("studio-kept", "~300", "goodbye")
    if closing is Closing.UNKEPT:
        return ("goodbye",)
    if state.reason is EndReason.DRAIN:
        return ("saved",)
    if closing is Closing.SILENCE:
        return ("silence-end", "~300", "goodbye-care")
    if closing is Closing.BUSY:
        return ("busy-saved",)
    if closing is Closing.STATUS:
        return ("goodbye",)
    return ("saved",)


def _last_words(turn: Turn) -> None:
    """After "saved": what happens next, from what can truthfully be said at this moment."""
    state = turn.state
    closing = Closing(state.closing)
    turn.set(phase=Phase.LAST)
    if state.reason is EndReason.DRAIN or closing in _SAID_AT_ONCE:
        done(turn)
    elif closing is Closing.WORSE:
        noted = ("~250", "worse-noted") if state.rings else ()
        turn.say((*noted, *_answer_us(turn), "~300", "goodbye-care"))
    elif state.urgent:
        turn.say(_urgent_words(turn))
    else:
        turn.say(_routine_words(turn))


def _answer_us(turn: Turn) -> Words:
    return ("~250", "promise-answer") if turn.state.promise.team or turn.state.rings else ()


def _from_number(turn: Turn, clip: str) -> Words:
    """A time is promised only together with the number that will call: both or neither."""
    number = tuple(phrases.digits(turn.config.number))
    return ("~250", "promise-from", "~150", *number, "~200", clip) if number and clip else ()


def _urgent_words(turn: Turn) -> Words:
    state = turn.state
    # By key 4 of the review it became urgent only now: the caller is told, once the alert is stored.
    told = ("~250", "marked-urgent") if state.rings and turn.counted("marked") else ()
    if not state.promise.team:
        rest = (*_from_number(turn, state.promise.routine), "~250", "emergency-room")
        return (*rest, "~200", "promise-worse", "~300", "goodbye-care")
    promise = _from_number(turn, state.promise.urgent)
    return (*told, *promise, "~250", "promise-answer", "~200", "promise-worse", "~300", "goodbye-care")


def _routine_words(turn: Turn) -> Words:
    promise = _from_number(turn, turn.state.promise.routine)
    return (*promise, *(("~250", "promise-none") if promise else ()), "~300", "goodbye")


def failed(turn: Turn, _event: Failed) -> None:
    if turn.state.phase in (Phase.CLOSING, Phase.LAST, Phase.TROUBLE):
        return
    if turn.state.gone:
        done(turn)
    else:
        trouble(turn)


def trouble(turn: Turn) -> None:
    """Nothing can be recorded: said without a promise."""
    turn.silence()
    turn.set(phase=Phase.TROUBLE, wake=None, kept="")
    turn.say(turn.config.graph.trouble)


def done(turn: Turn) -> None:
    turn.set(phase=Phase.DONE, playing=None, rest=(), wake=None)
    turn.do(HangUp())
