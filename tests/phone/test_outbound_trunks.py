"""Ordered calls by a carrier: the number that is shown, and which server takes them when one does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.phone.desks import OFFICE, stand
from tests.phone.endpoints import run
from tests.phone.registrar import secrets_of, trunk


def test_by_a_trunk_it_shows_the_practices_number_and_answers_the_carriers_question(tmp_path: Path) -> None:
    """Two servers: the first says that it cannot at present."""
    from tests.phone.carrier import carrier

    async def story() -> None:
        async with stand(tmp_path) as it, carrier(503) as full, carrier(200, asks=407) as good:
            dead = trunk(full.port, keep_alive=0)
            alive = trunk(good.port, keep_alive=0, ha1=secrets_of())
            it.trunks.follow([dead, alive])
            call = it.place("+16175550123")
            await it.hear("leg", call=call, state="answered")
            first, second = good.got("INVITE")[:2]
            assert full.got("INVITE")
            assert second.uri.text == "sip:+16175550123@carrier.example"
            assert second.sender.uri.text == f"sip:{OFFICE}@carrier.example"
            assert second.get("p-asserted-identity") == f"<sip:{OFFICE}@carrier.example>"
            assert not first.get("proxy-authorization")
            assert good.proven(second)
            assert await good.confirmed()
            only = it.place("+16175550123", trunk=dead.id)
            ended = await it.hear("leg", call=only, state="ended")
            assert (ended["why"], ended["code"]) == ("unreachable", 503)
            none = it.place("+16175550123", trunk="01K0000000000000000000000Z")
            assert (await it.hear("leg", call=none, state="ended"))["why"] == "no_trunk"

    run(story())


def test_a_server_that_is_silent_is_passed_over(tmp_path: Path) -> None:
    from tests.phone.carrier import carrier

    async def story() -> None:
        async with stand(tmp_path) as it, carrier(0) as deaf, carrier(200) as good:
            it.trunks.follow([trunk(deaf.port, keep_alive=0), trunk(good.port, keep_alive=0)])
            call = it.place("+16175550123")
            await it.hear("leg", call=call, state="answered")
            assert len(deaf.got("INVITE")) > 1
            assert it.endpoint.counters["failed_over"] == 1

    run(story())


@pytest.mark.parametrize(
    ("code", "tries"), [(402, True), (403, True), (500, True), (504, True), (486, False), (603, False)]
)
def test_a_carrier_that_does_not_take_the_call_is_passed_over_for_the_next(
    tmp_path: Path, code: int, tries: bool
) -> None:
    from tests.phone.carrier import carrier

    async def story() -> None:
        async with stand(tmp_path) as it, carrier(code) as first, carrier(200) as second:
            it.trunks.follow([trunk(first.port, keep_alive=0), trunk(second.port, keep_alive=0)])
            call = it.place("+16175550123")
            state = "answered" if tries else "ended"
            await it.hear("leg", call=call, state=state)
            assert bool(second.got("INVITE")) is tries

    run(story())


def test_an_encrypted_trunk_is_never_answered_plainly(tmp_path: Path) -> None:
    from nightbell.phone.outbound import Order, by_trunk
    from nightbell.phone.transport import Peer
    from nightbell.sip.srtp import Keying

    order = Order("x", "+16175550123", OFFICE, "", "", 20, 60)
    secret = trunk(5061, transport="tls", plain=False)
    way = by_trunk(secret, Peer("tls", "127.0.0.1", 5061), order)
    assert (way.keying, way.required) == (Keying.SDES, True)
    accepted = by_trunk(trunk(5061, transport="tls"), Peer("tls", "127.0.0.1", 5061), order)
    assert (accepted.keying, accepted.required) == (Keying.SDES, False)
    plain = by_trunk(trunk(5060), Peer("udp", "127.0.0.1", 5060), order)
    assert plain.keying is Keying.NONE
