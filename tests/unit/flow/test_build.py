"""From a plan to a call flow, what a line says of itself, and the walk that lets a flow go live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.flow.driver import ALL_WAYS, CALLER, NIGHT, PRACTICE, ZONE, config_of, everywhere

from nightbell.core.errors import NightbellError
from nightbell.flow import walk
from nightbell.flow.clips import manifest
from nightbell.flow.graph import Ask, Graph, Part, Query, Say, Take
from nightbell.flow.hours import Day, Kind, Situation
from nightbell.flow.line import Line, always_closed
from nightbell.flow.model import CallConfig, Promise, State
from nightbell.flow.plan import BadPlan, MenuKey, Plan, from_dict
from nightbell.flow.words import runs, when

OWN = "a" * 64
NO_MENU_NODES = {"menu-again", "menu-wrong", "no-key"}
PLANS = [
    Plan(),
    ALL_WAYS,
    Plan(languages=("es",), review=False),
    Plan(languages=("en",), callback=False, second="2125550177"),
    Plan(keys=()),
]
HOURS = always_closed(ZONE)


def line_of(plan: Plan | None = None, **more: Any) -> Line:
    return Line("p", ZONE, PRACTICE, 3, plan or Plan(), HOURS, **({"team": True} | more))


# Graphs.


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("caller", [CALLER, ""])
def test_every_node_can_be_reached_and_leads_to_one_that_is_there(plan: Plan, caller: str) -> None:
    for kind in (Kind.CLOSED, Kind.CLOSURE):
        graph = config_of(plan, caller, kind).graph
        for name, node in graph.nodes.items():
            assert set(walk.targets(node)) <= set(graph.nodes), name
        unused = set(graph.nodes) - set(everywhere(config_of(plan, caller, kind)))
        assert unused == (set() if plan.keys else NO_MENU_NODES & set(graph.nodes))


@pytest.mark.parametrize("plan", PLANS)
def test_no_key_cuts_911_or_a_notice_short(plan: Plan) -> None:
    config = config_of(plan)
    for node in config.graph.nodes.values():
        for run in runs(getattr(node, "words", ()), config, State()):
            named = [clip.partition("/")[2] for clip in run.clips]
            if any(clip.startswith(("emergency-911", "notice", "busy-short")) for clip in named):
                assert not run.barge
                assert len([clip for clip in named if clip]) == 1


@pytest.mark.parametrize("plan", PLANS)
def test_it_has_the_sound_of_every_word_in_every_language(plan: Plan) -> None:
    frames = manifest().frames
    for kind in Kind:
        for caller in (CALLER, ""):
            config = config_of(plan, caller, kind)
            for node in (*config.graph.nodes.values(), Say(config.graph.trouble, "")):
                for language in plan.languages:
                    state = State(language=language, entered=CALLER)
                    for run in runs(getattr(node, "words", ()), config, state):
                        assert all(frames.get(clip) for clip in run.clips if not clip.startswith("~"))


def test_it_says_the_goal_before_the_key() -> None:
    menu = config_of(ALL_WAYS).graph.nodes["menu"]
    assert isinstance(menu, Ask)
    for at, word in enumerate(menu.words):
        if word.startswith("press-"):
            assert menu.words[at - 1].startswith("menu-")
    assert menu.words[-1] == "menu-wait"


def test_it_records_in_every_way_before_it_ends() -> None:
    for caller in (one for ones in everywhere(config_of(ALL_WAYS)).values() for one in ones):
        if caller.state.node == "send":
            assert caller.tone_at is not None


def test_it_says_a_practices_own_greeting_only_when_every_language_has_it() -> None:
    half = replace(Plan(), clips={"en/own-greeting-closed": OWN})
    whole = replace(half, clips={"en/own-greeting-closed": OWN, "es/own-greeting-closed": OWN})
    words = {}
    for plan in (half, whole):
        greeting = config_of(plan).graph.nodes["greeting"]
        assert isinstance(greeting, Ask)
        words[id(plan)] = greeting.words
    assert "greeting-closed" in words[id(half)]
    assert words[id(whole)][0] == "own-greeting-closed"
    assert "greeting-closed" not in words[id(whole)]


def test_it_says_the_name_of_the_practice_or_words_in_its_place() -> None:
    named = replace(config_of(), own={"en/practice-name": OWN})
    words = ("greeting-reached", "{practice-name}")
    assert runs(words, named, State())[0].clips[-1] == "en/practice-name"
    assert runs(words, named, State(language="es"))[0].clips[-1] == "es/practice-fallback"


def test_it_offers_no_on_call_team_without_a_key_for_it() -> None:
    plan = Plan(keys=(MenuKey("2", "menu-routine"),))
    greeting = config_of(plan).graph.nodes["greeting"]
    assert isinstance(greeting, Ask)
    assert "greeting-on-call" not in greeting.words


def test_it_tells_a_time_on_the_practices_clock() -> None:
    now = NIGHT.astimezone(config_of().answered.tzinfo)
    assert when(datetime(2026, 11, 24, 2, 42, tzinfo=UTC), now, "en") == [
        "hour-9",
        "minute-42",
        "part-evening",
    ]
    assert when(None, now, "en") == []
    assert when(now - timedelta(days=9), now, "es") == []


# Lines.

ENTRY: dict[str, Any] = {
    "practice": "p",
    "zone": ZONE,
    "number": PRACTICE,
    "flow": 3,
    "plan": Plan().to_dict(),
    "holidays": {"2026-11-26": "Thanksgiving"},
    "known_until": "2027-12-31",
    "closures": [{"starts": "2026-12-01T14:00:00Z", "ends": None, "visits": True}],
    "team": True,
    "promise": {"urgent": "within-30-min", "routine": "promise-open-day"},
    "test": False,
}


def test_it_reads_a_line_as_the_snapshot_holds_it() -> None:
    line = Line.from_dict(ENTRY)
    assert (line.practice, line.zone, line.number, line.flow, line.team) == ("p", ZONE, PRACTICE, 3, True)
    assert line.plan == Plan()
    assert line.situation(datetime(2026, 11, 26, 17, tzinfo=UTC)).kind is Kind.HOLIDAY
    assert line.situation(datetime(2026, 11, 25, 17, tzinfo=UTC)).kind is Kind.OPEN
    later = line.situation(datetime(2027, 3, 1, 17, tzinfo=UTC))
    assert (later.kind, later.visits) == (Kind.CLOSURE, True)


@pytest.mark.parametrize(
    "change",
    [
        {"zone": "Mars/Olympus"}, {"zone": "../../etc/passwd"}, {"plan": {}}, {"plan": None}, {"plan": []},
        {"holidays": {"yesterday": "x"}}, {"holidays": None}, {"known_until": ""}, {"closures": [{}]},
        {"closures": [{"starts": "now", "ends": None, "visits": False}]}, {"promise": None}, {"flow": "x"},
        {"promise": {}}, {"plan": Plan().to_dict() | {"languages": ["de"]}},
        {"plan": Plan().to_dict() | {"clips": {"en/practice-name": "../../etc/passwd"}}},
        {"plan": Plan().to_dict() | {"keys": [{"key": "0"}]}},
        {"plan": Plan().to_dict() | {"max_seconds": True}},
    ],
    ids=str,
)  # fmt: skip
def test_it_refuses_what_is_no_line(change: dict[str, Any]) -> None:
    with pytest.raises((NightbellError, KeyError, TypeError, ValueError, AttributeError)):
        Line.from_dict(ENTRY | change)


def test_a_plan_is_read_back_as_it_was_written() -> None:
    for plan in PLANS:
        assert from_dict(plan.to_dict()) == plan
    with pytest.raises(BadPlan, match="older version"):
        from_dict({"languages": 7})


def test_it_makes_the_same_graph_once() -> None:
    line, other = line_of(), line_of(Plan(review=False))
    first = line.config(CALLER, NIGHT)
    assert line.config("2125550199", NIGHT).graph is first.graph
    assert line.config("", NIGHT).graph is not first.graph
    assert other.config(CALLER, NIGHT).graph is not first.graph
    assert line_of(line.plan, team=False).config(CALLER, NIGHT).graph is not first.graph


def test_it_orders_the_languages_by_the_caller() -> None:
    assert line_of().config(CALLER, NIGHT).languages == ("en", "es")
    assert line_of().config(CALLER, NIGHT, "es").languages == ("es", "en")
    assert line_of(Plan(languages=("en",))).config(CALLER, NIGHT, "es").languages == ("en",)


def test_it_says_when_the_practice_opens_again_in_both_languages() -> None:
    reopens = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
    situation = Situation(Kind.HOLIDAY, reopens, reopens, "", False, True)
    config = line_of().config(CALLER, NIGHT, situation=situation)
    assert config.reopen["en"] == ("greeting-reopen", "day-tomorrow", "hour-9", "minute-00", "part-morning")
    far = replace(situation, reopens=reopens + timedelta(days=20))
    assert line_of().config(CALLER, NIGHT, situation=far).reopen["es"] == ()


@pytest.mark.parametrize(
    ("urgent", "team", "age", "promise", "minutes"),
    [
        (True, True, 14.9, Promise(urgent="within-30-min"), 30),
        (True, True, 15.0, Promise(), None),
        (True, False, 0.0, Promise(routine="promise-open-day", team=False), 3000),
        (False, True, 15.0, Promise(routine="promise-open-day"), 3000),
        (False, True, 3599.9, Promise(routine="promise-open-day"), 3000),
        (False, True, 3600.0, Promise(), None),
        (True, False, 3600.0, Promise(team=False), None),
    ],
)
def test_it_promises_what_holds_at_this_moment(
    urgent: bool, team: bool, age: float, promise: Promise, minutes: int | None
) -> None:
    line = replace(Line.from_dict(ENTRY), team=team)
    friday = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)  # ten in the evening; next open on Monday
    said, until = line.promise_at(urgent, friday, age)
    assert said == promise
    expected = None
    if minutes == 30:
        expected = friday + timedelta(minutes=30)
    elif minutes:
        expected = datetime(2026, 12, 1, 5, 0, tzinfo=UTC)  # the end of Monday in New York
    assert until == expected


def test_it_promises_no_open_day_where_none_comes() -> None:
    line = replace(line_of(), promise=Promise(routine="promise-open-day"))
    assert line.promise_at(False, NIGHT, 0.0) == (Promise(team=True), None)


@pytest.mark.parametrize(
    ("seconds", "limits"), [(30, (30, 90)), (180, (180, 540)), (600, (600, 600)), (300, (300, 600))]
)
def test_it_gives_relay_callers_longer_messages(seconds: int, limits: tuple[int, int]) -> None:
    config = line_of(Plan(max_seconds=seconds)).config(CALLER, NIGHT)
    assert config.timing.limit == tuple(1000 * one for one in limits)


# The walk.


@pytest.mark.parametrize("plan", PLANS)
def test_a_sound_plan_has_no_problem_and_comes_to_the_tone_in_time(plan: Plan) -> None:
    report = walk.check(plan, HOURS, {})
    assert report.problems == ()
    assert report.ways > 100
    assert 0 < report.shortest_tone_s < 15
    assert report.longest_s < 240


def _clips(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, OWN)


@pytest.mark.parametrize(
    ("plan", "own", "where"),
    [
        (Plan(clips=_clips("en/own-greeting-closed")), {OWN: 3.0}, "es/own-greeting-closed"),
        (Plan(clips=_clips("en/practice-name")), {}, "en/practice-name"),
        (Plan(keys=(MenuKey("2", "own-key-2"),)), {}, "en/own-key-2"),
        (Plan(keys=(MenuKey("2", "own-key-2"),), clips=_clips("en/own-key-2")), {OWN: 2.0}, "es/own-key-2"),
        (Plan(keys=(MenuKey("3", "menu-status", does="status"),)), {}, "menu"),
    ],
)
def test_it_refuses_a_plan_with_words_missing(plan: Plan, own: dict[str, float], where: str) -> None:
    problems = walk.check(plan, HOURS, own).problems
    assert where in [problem.where for problem in problems]
    assert all(problem.what and problem.mend for problem in problems)


def test_it_takes_a_practices_own_words_when_they_are_all_there() -> None:
    names = [
        f"{language}/{clip}" for language in ("en", "es") for clip in ("own-greeting-closed", "own-key-2")
    ]
    plan = Plan(keys=(MenuKey("2", "own-key-2"),), clips=_clips("en/practice-name", *names))
    assert walk.check(plan, HOURS, {OWN: 4.0}).problems == ()


def _of(nodes: dict[str, Any]) -> CallConfig:
    return replace(config_of(), graph=Graph(nodes, "first", "first"))


ROUND = Query(("one-moment",), {}, "round")
BROKEN: list[tuple[str, Callable[[], CallConfig]]] = [
    ("asks for ever", lambda: _of({"first": Ask(("menu-wait",), {}, rounds=("round",)), "round": ROUND})),
    (
        "ends in the air",
        lambda: _of({"first": Take(Part.MESSAGE, "first", "round", "first"), "round": ROUND}),
    ),
]


@pytest.mark.parametrize(("what", "config"), BROKEN, ids=[what for what, _ in BROKEN])
def test_it_finds_a_way_that_ends_in_nothing(what: str, config: Callable[[], CallConfig]) -> None:
    assert walk._walk(config(), {}).problems


def test_it_finds_a_way_to_a_node_that_is_not_there() -> None:
    graph = Graph(
        {"first": Say(("goodbye",), "nowhere"), "gone": Say(("no-such-clip",), "first")}, "first", "first"
    )
    wheres = [problem.where for problem in walk._of_words(graph, Plan(), {})]
    assert wheres == ["first", "en/no-such-clip", "es/no-such-clip"]


def test_it_says_what_is_wrong_with_the_hours() -> None:
    calendar = replace(HOURS, week=(Day(1020, 480), *HOURS.week[1:]))
    assert [problem.where for problem in walk.check(Plan(), calendar, {}).problems] == ["hours"]
