"""Requests that come twice, late, out of order, or from somebody else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.db.carriers.conftest import SPOKEN, Desk
from tests.fakes.carrier import Speech

from nightbell.core.clock import utc_now
from nightbell.line import carrier_calls, carrier_health
from nightbell.line.carrier_models import CarrierCall
from nightbell.mailbox.models import Message
from nightbell.server import hook_status
from nightbell.store import vault

# What comes twice, late, or false.


def test_each_request_may_come_twice_while_the_call_goes_on(desk: Desk) -> None:
    call = desk.call(keys={"menu-urgent": "1", "callback-seen": "1"}, speeches=[Speech(SPOKEN)])
    once = call.post

    def twice(path: str, form: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
        answer = once(path, form, headers)
        assert once(path, form, headers) == answer
        for older in call.sent[:-2]:
            assert b"hooks" not in once(*older)[1], "what is long over leads nowhere"
        return answer

    call.post = twice
    call.run().tell()
    desk.work()
    assert Message.objects.get().kind == "message"
    assert CarrierCall.objects.get().takes == 1


@pytest.mark.parametrize("provider", ["twilio", "telnyx"])
def test_what_comes_twice_has_no_second_effect(desk: Desk, provider: str) -> None:
    call = desk.call(provider, keys={"menu-urgent": "1"}, speeches=[Speech(SPOKEN)])
    path, form = f"/hooks/{provider}/voice", call.params()
    first = call.send(path, form)
    assert call.again() == first
    call.sent.clear()
    call.run()
    assert CarrierCall.objects.count() == 1
    for index in range(len(call.sent)):
        assert call.again(index)[0] == 200
    assert call.again() == call.answers[-1]
    call.tell()
    call.tell()
    desk.work()
    call.tell()
    for index in range(len(call.sent)):
        assert call.again(index)[0] in (200, 204)
    desk.work(seconds=4000)
    assert Message.objects.count() == 1
    assert CarrierCall.objects.count() == 1


def test_two_first_requests_at_once_make_one_call(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    call = desk.call()
    first = call.send("/hooks/twilio/voice", call.params())
    look, looks = carrier_calls._row, []

    def too_early(name: str, sid: str) -> CarrierCall | None:
        looks.append(sid)
        return look(name, sid) if len(looks) > 1 else None

    monkeypatch.setattr(carrier_calls, "_row", too_early)
    assert call.again() == first
    assert CarrierCall.objects.count() == 1
    assert vault.keyring().has(CarrierCall.objects.get().id)


def test_a_step_at_the_same_moment_as_another_is_answered_with_what_that_one_did(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = desk.call()
    call.send("/hooks/twilio/voice", call.params())
    step = ("/hooks/twilio/step/1/2", call.params(Digits="1"))
    move, begun, faster = carrier_calls._move, [], list[tuple[int, bytes]]()

    def overtaken(row: CarrierCall, facts: carrier_calls.Facts, now: datetime) -> bool:
        begun.append(row)
        if len(begun) == 1:
            faster.append(call.send(*step))  # type: ignore[arg-type]
        return move(row, facts, now)

    monkeypatch.setattr(carrier_calls, "_move", overtaken)
    assert call.send(*step) == faster[0]  # type: ignore[arg-type]
    assert len(begun) == 2
    assert CarrierCall.objects.get().turn == 2


def test_the_recordings_word_may_come_before_the_callers_next_step(desk: Desk) -> None:
    call = desk.call(keys={"menu-routine": "2"}, speeches=[Speech(SPOKEN)])
    record = call._record

    def told_first(verb: Any) -> dict[str, str] | None:
        spoken = record(verb)
        call.tell()
        return spoken

    call._record = told_first  # type: ignore[method-assign]
    call.run()
    desk.work()
    assert Message.objects.get().kind == "message"


@pytest.mark.parametrize("provider", ["twilio", "telnyx"])
def test_a_false_signature_is_refused_counted_and_stores_nothing(desk: Desk, provider: str) -> None:
    call = desk.call(provider)
    path, form = f"/hooks/{provider}/voice", call.params()
    good = call.signer.headers(path, form)
    for headers in ({}, {name: "A" + value[1:] for name, value in good.items()}, dict.fromkeys(good, "é")):
        assert call.post(path, form, headers) == (403, b"")
    assert call.post(path, form | {"From": "+15550000000"}, good) == (403, b"")
    if provider == "telnyx":
        for minutes in (-6, 6):
            stale = call.signer.headers(path, form, utc_now() + timedelta(minutes=minutes))
            assert call.post(path, form, stale) == (403, b"")
    assert not CarrierCall.objects.exists()
    told = carrier_health.report(["twilio"], utc_now())
    assert told is not None and told["refused"] >= 4
    assert "false signatures" in hook_status.judged(told)[1]
    for _ in range(30):
        call.post(path, form, {})
    assert carrier_health.report(["twilio"], utc_now())["refused"] == 20, "a flood does not fill the database"  # type: ignore[index]
    assert call.post(path, form, good)[0] == 200, "and keeps no genuine call out"
