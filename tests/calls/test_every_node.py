"""Hanging up at every node of the default flow, and a phone that is full: real calls, the captures opened."""

from __future__ import annotations

import pytest
from tests.calls.conftest import FULL, Evening
from tests.calls.ways import lines
from tests.phone.house import CALLER, House, sound_of

from nightbell.core import clock
from nightbell.core.capture import Capture, Codec
from nightbell.flow.line import Line
from nightbell.phone.voice import packaged
from nightbell.sealing.capture import open_capture

pytestmark = pytest.mark.slow


def captures(house: House) -> dict[str, Capture]:
    """By the caller's number."""
    found = [open_capture(path.read_bytes(), house.private) for path in house.files("cap")]
    return {one.meta.caller: one for one in found}


def stages(capture: Capture) -> list[str]:
    return [mark.name.removeprefix("stage:") for mark in capture.marks if mark.name.startswith("stage:")]


def test_there_is_a_call_for_every_node_of_the_default_flow(evening: Evening) -> None:
    graph = Line.from_dict(lines("en", clock.utc_now())["default"]).config(CALLER, clock.utc_now()).graph
    assert set(evening.nodes) == set(graph.nodes)


def test_whoever_hangs_up_at_a_node_leaves_a_capture_that_says_so(
    evening: Evening, houses: tuple[House, House]
) -> None:
    kept = captures(houses[0])
    assert len(kept) == len(evening.nodes)
    wrong = {
        node: (stages(kept[call.number])[-3:], str(call))
        for node, call in evening.nodes.items()
        if stages(kept[call.number])[-1] != node or not kept[call.number].complete
    }
    assert not wrong
    assert not houses[0].files("part")


def test_a_full_phone_takes_a_short_message_and_refuses_only_what_is_beyond(
    evening: Evening, houses: tuple[House, House]
) -> None:
    *talking, short, refused = evening.full
    assert [call.code for call in talking] == [200] * FULL
    assert (short.code, refused.code) == (200, 503)
    heard = [payload for _, payload in short.heard]
    for clip in ("en/busy-short", "tone", "en/busy-saved"):
        assert b"".join(packaged(clip, Codec.PCMU)) in b"".join(heard), clip
    kept = captures(houses[1])
    assert set(kept) == {call.number for call in (*talking, short)}
    capture = kept[short.number]
    assert "short" in [mark.name for mark in capture.marks]
    assert b"".join(short.noise(100)) in sound_of(capture)
    assert all("short" not in [mark.name for mark in kept[call.number].marks] for call in talking)
