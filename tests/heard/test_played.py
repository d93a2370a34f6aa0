"""What is heard is what the flow says, sample by sample: every node, every greeting, both languages."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.calls.walker import MS
from tests.heard.conftest import Call
from tests.heard.match import Heard

from nightbell.flow.graph import Take

pytestmark = pytest.mark.slow


def test_every_call_is_answered_and_lives_as_long_as_on_paper(calls: list[Call]) -> None:
    for call in calls:
        lasted, planned = call.patient.ended - call.patient.answered, call.walker.now / 1000
        assert call.patient.code == 200, call
        assert abs(lasted - planned) < 2.5, (str(call), lasted, planned, str(call.patient))


def test_it_plays_each_run_of_clips_as_the_flow_has_it(heard: dict[str, list[Heard]]) -> None:
    wrong = [
        f"{name}: {one.run.node} {one.run.clips} {one.alike:.3f}, {one.at // MS - one.run.began} ms late"
        for name, runs in heard.items()
        for one in runs
        if one.alike < 0.99
    ]
    assert not wrong, "\n".join(wrong)
    assert sum(map(len, heard.values())) > 600


def test_it_plays_them_one_after_the_other(heard: dict[str, list[Heard]]) -> None:
    for name, runs in heard.items():
        for one, following in pairwise(runs):
            assert following.at >= one.at + one.length - 160, (name, one.run, following.run)


def test_every_node_is_heard_to_the_end_of_its_words_in_both_languages(
    calls: list[Call], heard: dict[str, list[Heard]]
) -> None:
    for language in ("en", "es"):
        mine = [call for call in calls if call.language == language]
        full = {
            one.run.node for call in mine for one in heard[str(call)] if one.run.full and one.alike >= 0.99
        }
        assert {node for call in mine for node in call.walker.config.graph.nodes} == full
    runs = [(one.run.node, _without_digits(one), one.run.full) for some in heard.values() for one in some]
    assert {(node, clips) for node, clips, _ in runs} == {(node, clips) for node, clips, full in runs if full}


def _without_digits(heard: Heard) -> tuple[str, ...]:
    """Each caller has a number of its own."""
    return tuple(clip for clip in heard.run.clips if "/digit-" not in clip)


def test_callers_hear_their_own_words_again(calls: list[Call], heard: dict[str, list[Heard]]) -> None:
    for call in calls:
        own = [one for one in heard[str(call)] if not one.run.clips]
        assert len(own) == call.name.endswith("-again")
        assert all(one.alike >= 0.99 for one in own)


def test_nothing_is_played_while_a_caller_speaks(calls: list[Call], heard: dict[str, list[Heard]]) -> None:
    quiet = 0
    for call in calls:
        nodes = call.walker.config.graph.nodes
        tones = [one for one in heard[str(call)] if one.run.clips == ("tone",)]
        for one in tones:
            assert isinstance(nodes[one.run.node], Take)
            after = call.sound[one.at + one.length + 160 : one.at + one.length + 1600]
            quiet += len(after)
            if call.name != "limit":  # that line is so short that the warning comes at once
                assert not after.any(), (str(call), one.run)
    assert quiet > 0
