"""What a phone knows of a practice's line, and the rules of one call that follow from it.

lines entry = {"practice", "zone", "number", "flow", "plan", "holidays": {date: name}, "known_until",
               "closures": [{"starts", "ends", "visits"}], "team", "promise": {"urgent", "routine"}, "test"}
of a number under which a clip is recorded also "studio": the clip, and "language"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from nightbell.core.sound import MOST_SECONDS
from nightbell.flow import build, hours, phrases
from nightbell.flow.clips import LANGUAGES
from nightbell.flow.graph import Graph
from nightbell.flow.hours import Calendar, Closure, Kind, Situation
from nightbell.flow.model import NO_PROMISE, CallConfig, Promise, Timing
from nightbell.flow.plan import Plan, from_dict

BUSY_SECONDS = 60
SLOW_FACTOR = 3
FRESH_URGENT, FRESH_ROUTINE = 15.0, 3600.0  # seconds since the worker was heard: no older promise is repeated
_MINUTES = {
    phrases.within(m): m for m in (*phrases.PROMISE_MINUTES, *(h * 60 for h in phrases.PROMISE_HOURS))
}
_GRAPHS: dict[tuple[int, Kind, bool, bool, bool, bool], tuple[Plan, Graph]] = {}
_MOST_GRAPHS = 400


@dataclass(frozen=True, slots=True)
class Line:
    """One practice's line. number: what a called-back patient sees; flow: the version, 0 for a draft; team: somebody
    can be woken; test: calls are trials and wake nobody; studio: the clip that is recorded here, '' on all other
    lines, and language: in which."""

    practice: str = ""
    zone: str = "UTC"
    number: str = ""
    flow: int = 0
    plan: Plan = field(default_factory=Plan)
    calendar: Calendar = field(default_factory=lambda: always_closed("UTC"))
    team: bool = False
    promise: Promise = NO_PROMISE
    test: bool = False
    studio: str = ""
    language: str = ""

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Line:
        """Read an entry of the snapshot. Raises BadPlan, KeyError, TypeError, ValueError for what is none."""
        plan = from_dict(data["plan"])
        zone = str(data["zone"])
        try:
            ZoneInfo(zone)
        except OSError as error:  # 'America' is a folder
            raise ValueError("a time zone") from error
        promise = data["promise"]
        studio, language = str(data.get("studio", "")), str(data.get("language", ""))
        if studio and language not in LANGUAGES:
            raise ValueError("a recording in no language")
        return Line(
            practice=str(data["practice"]),
            zone=zone,
            number=str(data["number"]),
            flow=int(data["flow"]),
            plan=plan,
            calendar=Calendar(
                zone=zone,
                week=plan.week,
                holidays={date.fromisoformat(day): str(name) for day, name in data["holidays"].items()},
                known_until=date.fromisoformat(data["known_until"]),
                closures=tuple(_closure(one) for one in data["closures"]),
            ),
            team=bool(data["team"]),
            promise=Promise(str(promise["urgent"]), str(promise["routine"])),
            test=bool(data["test"]),
            studio=studio,
            language=language,
        )

    def situation(self, at: datetime) -> Situation:
        """What the practice is at this instant: open, at lunch, closed ..."""
        return hours.situation(self.calendar, at)

    def config(
        self,
        caller: str,
        at: datetime,
        language: str = "",
        slow: bool = False,
        busy: bool = False,
        situation: Situation | None = None,
    ) -> CallConfig:
        """The rules of a call answered at `at`. caller: digits, '' when withheld; language, slow: of an earlier call;
        situation: another than that of `at`, for trying things out."""
        if self.studio:
            return self._studio(caller, at, slow)
        plan, situation = self.plan, situation or self.situation(at)
        local = at.astimezone(ZoneInfo(self.zone))
        limit = BUSY_SECONDS if busy else plan.max_seconds
        first = language if language in plan.languages else plan.languages[0]
        return CallConfig(
            graph=build.busy(plan) if busy else self._graph(situation, bool(caller)),
            languages=(first, *(one for one in plan.languages if one != first)),
            answered=local,
            caller=caller,
            number=self.number,
            second=plan.second,
            reopen={one: _reopen(situation, local, one) for one in plan.languages},
            own=plan.clips,
            slow=slow,
            team=self.team,
            open=situation.reopens is None,
            timing=replace(Timing(), limit=(limit * 1000, limit * 1000 if busy else _slow_limit(limit))),
        )

    def _studio(self, caller: str, at: datetime, slow: bool) -> CallConfig:
        """The rules of a call in which a clip is recorded, on a full system too: it is no patient's."""
        return CallConfig(
            graph=build.studio(),
            languages=(self.language,),
            answered=at.astimezone(ZoneInfo(self.zone)),
            caller=caller,
            number=self.number,
            own=self.plan.clips,
            slow=slow,
            timing=replace(Timing(), limit=(round(MOST_SECONDS * 1000),) * 2),
        )

    def promise_at(self, urgent: bool, at: datetime, age: float) -> tuple[Promise, datetime | None]:
        """What may be said now, and the instant by which it must be kept. age: seconds since the worker spoke."""
        if urgent and self.team:
            clip = self.promise.urgent if age < FRESH_URGENT else ""
            minutes = _MINUTES.get(clip)
            if not minutes:
                return Promise(team=True), None
            return Promise(urgent=clip, team=True), at + timedelta(minutes=minutes)
        said = self.promise.routine == "promise-open-day" and age < FRESH_ROUTINE
        day = hours.next_open_day(self.calendar, at) if said else None
        if day is None:
            return Promise(team=self.team), None
        until = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(self.zone)).astimezone(UTC)
        return Promise(routine=self.promise.routine, team=self.team), until

    def _graph(self, situation: Situation, caller: bool) -> Graph:
        """Made once for each kind of call: half a thousandth of a second that a ringing patient need not wait."""
        key = (
            id(self.plan), situation.kind, situation.reopens is not None, situation.visits, self.team, caller
        )  # fmt: skip
        kept = _GRAPHS.get(key)
        if kept is not None and kept[0] is self.plan:
            return kept[1]
        if len(_GRAPHS) > _MOST_GRAPHS:
            _GRAPHS.clear()
        graph = build.graph(self.plan, situation, self.team, caller)
        _GRAPHS[key] = (self.plan, graph)
        return graph


def always_closed(zone: str) -> Calendar:
    """A calendar of a line whose hours nobody has set."""
    return Calendar(zone, (hours.Day(None, None, None),) * 7, {}, date.max)


def _slow_limit(limit: int) -> int:
    return max(limit, min(limit * SLOW_FACTOR, 600)) * 1000


def _closure(data: Mapping[str, Any]) -> Closure:
    ends = data["ends"]
    return Closure(
        starts=datetime.fromisoformat(str(data["starts"])),
        ends=datetime.fromisoformat(str(ends)) if ends else None,
        visits=bool(data["visits"]),
        at_once=False,
    )


def _reopen(situation: Situation, local: datetime, language: str) -> tuple[str, ...]:
    """'We open again tomorrow at nine ...'; nothing when the day cannot be said without doubt."""
    if situation.reopens is None:
        return ()
    at = situation.reopens.astimezone(local.tzinfo)
    words = phrases.day_and_time(at, local, language, same_day_implied=situation.kind is Kind.LUNCH)
    return ("greeting-reopen", *words) if words else ()
