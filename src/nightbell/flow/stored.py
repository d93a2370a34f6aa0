"""A call's state and progress as JSON, for callers whose next word comes with another request. Pure."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from nightbell.core.capture import EndReason
from nightbell.flow.model import Promise, Run, State, Told
from nightbell.flow.provider import Progress


def state_to_dict(state: State) -> dict[str, Any]:
    """Everything of it, in plain values."""
    kept = {one.name: getattr(state, one.name) for one in fields(State)}
    told, promise = state.told, state.promise
    return kept | {
        "rest": [_run(one) for one in state.rest],
        "playing": None if state.playing is None else _run(state.playing),
        "counts": [list(one) for one in state.counts],
        "phase": str(state.phase),
        "told": None if told is None else [told.state, told.at.isoformat() if told.at else None, told.ref],
        "promise": [promise.urgent, promise.routine, promise.team],
        "reason": None if state.reason is None else state.reason.value,
    }


def state_from_dict(data: dict[str, Any]) -> State:
    """Raises KeyError, TypeError, ValueError for what `state_to_dict` did not make."""
    told = data["told"]
    changed = {
        "rest": tuple(_a_run(one) for one in data["rest"]),
        "playing": None if data["playing"] is None else _a_run(data["playing"]),
        "counts": tuple((str(name), int(count)) for name, count in data["counts"]),
        "told": None if told is None else Told(told[0], datetime.fromisoformat(told[1]) if told[1] else None, told[2]),
        "promise": Promise(*data["promise"]),
        "reason": None if data["reason"] is None else EndReason(data["reason"]),
    }  # fmt: skip
    return State(**(data | changed))


def progress_to_dict(here: Progress) -> dict[str, Any]:
    return {
        "state": state_to_dict(here.state),
        "now": here.now,
        "marks": [list(one) for one in here.marks],
        "keys": [list(one) for one in here.keys],
        "takes": here.takes,
        "asking": here.asking,
        "ended": None if here.ended is None else [here.ended[0], here.ended[1].value],
    }


def progress_from_dict(data: dict[str, Any]) -> Progress:
    """Raises KeyError, TypeError, ValueError."""
    ended = data["ended"]
    return Progress(
        state=state_from_dict(data["state"]),
        now=int(data["now"]),
        marks=tuple((int(at), str(name)) for at, name in data["marks"]),
        keys=tuple((int(at), str(key)) for at, key in data["keys"]),
        takes=int(data["takes"]),
        asking=data["asking"],
        ended=None if ended is None else (int(ended[0]), EndReason(ended[1])),
    )


def _run(run: Run) -> list[Any]:
    return [list(run.clips), run.barge]


def _a_run(data: list[Any]) -> Run:
    return Run(tuple(str(clip) for clip in data[0]), bool(data[1]))
