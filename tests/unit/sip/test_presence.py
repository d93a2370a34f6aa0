"""When a silent call is asked whether it is still there, and what the answers mean."""

from __future__ import annotations

import pytest

from nightbell.sip.presence import Patience, Presence, Step

PATIENCE = Patience(15, 30, 16)


def asked(at: float = 15) -> Presence:
    """Of a call that began at 0 and of which nothing came."""
    presence = Presence(PATIENCE, 0)
    assert presence.look(0, at) is Step.ASK
    return presence


def test_nothing_at_all_is_asked_about_sooner_than_a_pause() -> None:
    presence = Presence(PATIENCE, 0)
    assert [presence.look(0, at) for at in (5, 10, 14.9)] == [Step.WAIT] * 3
    assert presence.look(0, 15) is Step.ASK
    heard = Presence(PATIENCE, 0)
    assert heard.look(3, 10) is Step.WAIT  # the last packet came by then
    assert [heard.look(3, at) for at in (15, 39.9)] == [Step.WAIT] * 2
    assert heard.look(3, 40) is Step.ASK


def test_nobody_who_answers_is_gone() -> None:
    presence = asked()
    assert [presence.look(0, at) for at in (20, 30.9)] == [Step.WAIT] * 2
    assert presence.asking
    assert presence.look(0, 31) is Step.GONE


@pytest.mark.parametrize("code", [200, 404, 405, 501, 503])
def test_an_answer_of_any_kind_is_a_sign_of_life_for_a_while(code: int) -> None:
    presence = asked()
    assert presence.answered(code, 0, 16) is Step.WAIT
    assert not presence.asking
    assert presence.look(0, 45.9) is Step.WAIT
    assert presence.look(0, 46) is Step.ASK


@pytest.mark.parametrize("code", [408, 481])
def test_who_knows_no_such_call_is_gone_unless_sound_came_meanwhile(code: int) -> None:
    assert asked().answered(code, 0, 15.1) is Step.GONE
    assert asked().answered(code, 1, 15.1) is Step.WAIT


def test_a_packet_while_we_wait_is_a_sign_of_life() -> None:
    presence = asked()
    assert presence.look(1, 31) is Step.WAIT
    assert not presence.asking
    assert presence.answered(481, 1, 31.5) is Step.WAIT  # to the question of before
    assert presence.look(1, 61) is Step.ASK


def test_a_request_of_the_other_side_is_a_sign_of_life() -> None:
    presence = asked()
    presence.alive(20)
    assert presence.look(0, 49.9) is Step.WAIT
    assert presence.look(0, 50) is Step.ASK


def test_looks_are_so_close_that_a_pause_is_known_to_a_sixth() -> None:
    presence = Presence(PATIENCE, 0)
    assert [presence.due(at) for at in (0, 12, 20)] == [5, 3, 0]
    presence.look(0, 15)
    assert [presence.due(at) for at in (15, 29)] == [5, 2]


def test_a_request_of_ours_that_waits_is_the_question_once_one_would_be_asked() -> None:
    presence = Presence(PATIENCE, 0)
    assert [presence.look(0, at, 10) for at in (14.9, 15, 25.9)] == [Step.WAIT] * 3
    assert not presence.asking
    assert [presence.due(at, 10) for at in (20, 24)] == [5, 2]
    assert presence.look(0, 26, 10) is Step.GONE
    early = Presence(PATIENCE, 0)
    early.alive(1)
    assert early.look(0, 30.9, 2) is Step.WAIT  # never sooner than one would be asked
    assert early.look(0, 31, 2) is Step.GONE
    assert Presence(PATIENCE, 0).look(1, 40, 2) is Step.WAIT
