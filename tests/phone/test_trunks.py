"""Trunks against a registrar by hand: registered, refused, left alone, and back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.phone.endpoints import line, message, offer, phone, run, until
from tests.phone.registrar import REALM, USER, Registrar, registrar, secrets_of, trunk, trunks_of

from nightbell.phone.trunks import Trunks
from nightbell.sip.transaction import Timing
from nightbell.sip.trunk import Kind, Trunk

FAST = Timing(0.02, 0.1, 0.1, second=0.01)  # 30 s of keep-alive last 0.3


def state(at_work: Trunks, one: Trunk) -> dict[str, Any]:
    found = at_work.states()[one.id]
    json.dumps(found)
    return found


def test_it_registers_with_the_best_of_what_is_asked_and_refreshes_in_time() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST._replace(second=0.02)) as it:
            carrier.grants = 60  # 1.2 s
            one = trunk(carrier.port, keep_alive=0)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "registered")
                began = asyncio.get_running_loop().time()
                assert carrier.bound == {USER: 60}
                first, second = carrier.got("REGISTER")
                assert (first.get("authorization"), first.uri.text) == ("", f"sip:{REALM}")
                assert "algorithm=SHA-256" in second.get("authorization")
                assert (second.call_id, second.cseq.number) == (first.call_id, first.cseq.number + 1)
                found = state(at_work, one)
                assert (found["realm"], found["algorithms"]) == (REALM, ["SHA-256", "MD5"])
                assert found["rtt_ms"] < 1000
                # 80 % of the 60 seconds that were granted; with the nonce that it knows: no second challenge.
                await until(lambda: len(carrier.got("REGISTER")) == 3)
                assert asyncio.get_running_loop().time() - began < 1.2
                assert "nc=00000002" in carrier.seen[-1].get("authorization")
                since = found["since"]
                await until(lambda: len(carrier.got("REGISTER")) == 4)
                assert state(at_work, one)["since"] == since
            assert carrier.bound == {USER: 60}  # a phone that stops leaves its registration

    run(story())


def test_a_next_nonce_and_a_stale_one() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            carrier.grants, carrier.next_nonce = 60, "n2"
            one = trunk(carrier.port, keep_alive=0)
            async with trunks_of(it, one) as at_work:
                await until(lambda: len(carrier.got("REGISTER")) == 3)
                assert 'nonce="n2"' in carrier.seen[-1].get("authorization")
                assert "nc=00000001" in carrier.seen[-1].get("authorization")
                carrier.nonce, carrier.next_nonce, carrier.stale = "n3", "", True
                await until(lambda: len(carrier.got("REGISTER")) == 5)
                assert 'nonce="n3"' in carrier.seen[-1].get("authorization")
                await asyncio.sleep(0.05)
                assert state(at_work, one)["state"] == "registered"

    run(story())


def test_a_proxy_and_a_registrar_that_both_ask_get_both_answers() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            carrier.proxy_asks, carrier.grants = True, 60
            one = trunk(carrier.port, keep_alive=0)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "registered")
                assert len(carrier.got("REGISTER")) == 3

    run(story())


def test_a_way_without_outbound_is_taken_without_it() -> None:
    """RFC 5626 §11.6."""

    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            carrier.outbound, carrier.grants = False, 60
            one = trunk(carrier.port, keep_alive=0)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "registered")
                assert carrier.got("REGISTER")[-1].get("supported") == "path"

    run(story())


def test_a_wrong_password_is_tried_once() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            one = trunk(carrier.port, ha1=secrets_of("wrong"), keep_alive=10)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "failed")
                assert (state(at_work, one)["code"], state(at_work, one)["why"]) == (401, "password")
                await asyncio.sleep(0.12)  # answered OPTIONS are no reason to try a password again
                assert len(carrier.got("REGISTER")) == 2
                # The right one, by a new snapshot: at once.
                at_work.follow([Trunk.from_dict(one.to_dict() | {"ha1": secrets_of()})])
                await until(lambda: state(at_work, one)["state"] == "registered")

    run(story())


def test_the_realm_is_told_before_a_password_can_be_used_and_no_other_gets_an_answer() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            new = trunk(carrier.port, realm="", ha1={})
            async with trunks_of(it, new) as at_work:
                await until(lambda: state(at_work, new)["realm"] == REALM)
                found = state(at_work, new)
                assert (found["state"], found["why"], found["algorithms"]) == (
                    "registering",
                    "password",
                    ["SHA-256", "MD5"],
                )
                known = Trunk.from_dict(new.to_dict() | {"realm": REALM, "ha1": secrets_of()})
                at_work.follow([known])
                await until(lambda: state(at_work, new)["state"] == "registered")
            carrier.realm, carrier.nonce = "thief.example", "n9"
            carrier.seen.clear()
            async with trunks_of(it, known) as at_work:
                await until(lambda: state(at_work, known)["state"] == "failed")
                assert (state(at_work, known)["why"], state(at_work, known)["realm"]) == (
                    "realm",
                    "thief.example",
                )
                assert [request.get("authorization") for request in carrier.seen] == [""]

    run(story())


@pytest.mark.parametrize(
    ("code", "why"), [(403, "refused"), (404, "refused"), (503, "unavailable"), (500, "unavailable")]
)
def test_refusals_are_told_and_not_hurried(code: int, why: str) -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            carrier.code = carrier.options_code = code
            one = trunk(carrier.port)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "failed")
                assert (state(at_work, one)["code"], state(at_work, one)["why"]) == (code, why)
                await asyncio.sleep(0.1)
                assert len(carrier.got("REGISTER")) == 1

    run(story())


def test_a_longer_registration_is_asked_for_where_the_carrier_wants_it() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            carrier.least = 3600
            one = trunk(carrier.port)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "registered")
                assert carrier.bound == {USER: 3600}

    run(story())


def test_a_carrier_that_was_away_is_registered_with_as_soon_as_it_answers() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            one = trunk(carrier.port, keep_alive=10)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "registered")
                carrier.answers = False
                await until(lambda: state(at_work, one)["state"] == "failed")
                assert state(at_work, one)["why"] == "no-answer"
                since = state(at_work, one)["since"]
                await until(lambda: len({request.cseq.number for request in carrier.got("REGISTER")}) >= 6)
                assert state(at_work, one)["since"] == since  # still the same outage
                # By now the pauses are long, and looks go on within them.
                carrier.seen.clear()
                await until(lambda: carrier.seen and carrier.seen[-1].method == "OPTIONS")
                carrier.seen.clear()
                carrier.answers = True
                await until(lambda: state(at_work, one)["state"] == "registered")
                asked = {request.call_id for request in carrier.got("OPTIONS")}
                assert len(asked) <= 1

    run(story())


def test_a_carrier_that_lives_but_cannot_register_us_is_not_stormed() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            carrier.code = 503
            one = trunk(carrier.port, keep_alive=10)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "failed")
                await until(lambda: carrier.got("OPTIONS"))
                await asyncio.sleep(0.25)
                # One at the first sign of life; then by the growing pauses, whatever OPTIONS say.
                assert len(carrier.got("REGISTER")) <= 3

    run(story())


def test_a_registrar_that_answers_no_questions_is_still_one() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            carrier.options_code = 0
            one = trunk(carrier.port, keep_alive=10)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "registered")
                since = state(at_work, one)["since"]
                await until(lambda: len(carrier.got("REGISTER")) >= 4)
                assert (state(at_work, one)["state"], state(at_work, one)["since"]) == ("registered", since)

    run(story())


def test_the_next_server_takes_over() -> None:
    async def story() -> None:
        async with registrar() as first, registrar() as second, line(timing=FAST) as it:
            first.answers = False
            one = trunk(first.port)

            async def both(_: Trunk) -> Any:
                from nightbell.phone.transport import Peer

                return (Peer("udp", "127.0.0.1", first.port), Peer("udp", "127.0.0.1", second.port))

            at_work = Trunks(it.endpoint.layer, both, it.endpoint.layer.log, {}, {})
            at_work.follow([one])
            await until(lambda: state(at_work, one)["state"] == "registered")
            assert second.bound == {USER: 600} and first.bound == {}
            await at_work.close()

    run(story())


def test_only_what_changed_registers_again_and_what_is_gone_is_taken_back() -> None:
    async def story() -> None:
        async with registrar() as carrier, registrar() as other, line(timing=FAST) as it:
            one, two = trunk(carrier.port), trunk(other.port)
            async with trunks_of(it, one, two) as at_work:
                await until(lambda: {state(at_work, x)["state"] for x in (one, two)} == {"registered"})
                count = len(carrier.got("REGISTER"))
                at_work.follow([one, Trunk.from_dict(two.to_dict() | {"name": "Other", "expires": 700})])
                await until(lambda: other.bound == {USER: 700})
                assert len(carrier.got("REGISTER")) == count
                at_work.follow([one])
                await until(lambda: other.bound == {USER: 0})
                assert list(at_work.states()) == [one.id]
                at_work.follow([Trunk.from_dict(one.to_dict() | {"proxy": f"127.0.0.1:{other.port}"})])
                await until(lambda: carrier.bound == {USER: 0} and other.bound == {USER: 600})

    run(story())


def test_a_trunk_by_address_is_asked_and_says_how_it_is() -> None:
    async def story() -> None:
        async with registrar() as carrier, line(timing=FAST) as it:
            asked = trunk(carrier.port, kind=Kind.ADDRESS, user="", realm="", ha1={}, keep_alive=10)
            quiet = trunk(
                0, kind=Kind.ADDRESS, user="", realm="", ha1={}, proxy="", domain="", sources=("127.0.0.1",)
            )
            async with trunks_of(it, asked, quiet) as at_work:
                await until(lambda: state(at_work, asked)["state"] == "reachable")
                assert state(at_work, quiet)["state"] == "off"
                carrier.options_code = 503
                await until(lambda: state(at_work, asked)["state"] == "unreachable")
                assert (state(at_work, asked)["code"], state(at_work, asked)["why"]) == (503, "unavailable")
                carrier.options_code = 404  # refused, and there
                await until(lambda: state(at_work, asked)["state"] == "reachable")
                at_work.heard(quiet.id)
                assert state(at_work, quiet)["state"] == "reachable"
                assert carrier.got("REGISTER") == []

    run(story())


def test_names_without_an_address_and_servers_that_are_not_there() -> None:
    async def story() -> None:
        async with line(timing=FAST) as it:
            nowhere = trunk(0, proxy="sip.nowhere.example")
            shut = trunk(9, transport="tcp")
            async with trunks_of(it, nowhere, shut) as at_work:
                await until(lambda: {state(at_work, x)["state"] for x in (nowhere, shut)} == {"failed"})
                assert (state(at_work, nowhere)["why"], state(at_work, shut)["why"]) == (
                    "unresolved",
                    "no-answer",
                )

    run(story())


def test_nothing_that_comes_in_makes_a_call_go_out() -> None:
    """REFER, redirections, and headers that name other places (A-07 of the threats: toll fraud)."""

    async def story() -> None:
        async with (
            registrar() as carrier,
            phone(1) as victim,
            line(timing=FAST) as it,
            phone(it.endpoint.port) as client,
        ):
            there = f"<sip:900@127.0.0.1:{victim.port}>"
            carrier.code = 302
            one = trunk(carrier.port)
            async with trunks_of(it, one) as at_work:
                await until(lambda: state(at_work, one)["state"] == "failed")
                client.send(
                    message("REFER", client.port, extra=f"Refer-To: {there}\r\nReferred-By: {there}\r\n")
                )
                assert (await client.response()).code == 405
                odd = f"Diversion: {there}\r\nHistory-Info: {there};index=1\r\nReplaces: x;to-tag=y;from-tag=z\r\nRefer-To: {there}\r\nTarget-Dialog: x\r\nJoin: x;to-tag=y;from-tag=z\r\n"
                client.send(
                    message("INVITE", client.port, branch="z9hG4bK9", call_id="c2", body=offer(), extra=odd)
                )
                answered = await client.response()
                assert answered.code == 200
                client.send(
                    message("ACK", client.port, branch="z9hG4bKa", call_id="c2", to_tag=answered.to.tag)
                )
                client.send(
                    message(
                        "REFER",
                        client.port,
                        2,
                        branch="z9hG4bKb",
                        call_id="c2",
                        to_tag=answered.to.tag,
                        extra=f"Refer-To: {there}\r\n",
                    )
                )
                assert (await client.response()).code == 405
                await asyncio.sleep(0.3)
                assert victim.pending() == []
                assert it.endpoint.counters["dialled"] == 0

    run(story())


def test_a_registrar_that_talks_nonsense_breaks_nothing() -> None:
    class Odd(Registrar):
        def _judge(self, request: Any) -> Any:
            self.grants += 1
            lines = [
                (("WWW-Authenticate", 'Digest realm="'),),
                (("WWW-Authenticate", "Basic x"),),
                (("Contact", "<<>"), ("Expires", "soon")),
                (("Contact", "*"),),
                (),
            ]
            return (401, 401, 200, 200, 423)[self.grants % 5], lines[self.grants % 5]

    async def story() -> None:
        loop = asyncio.get_running_loop()
        wire, odd = await loop.create_datagram_endpoint(Odd, local_addr=("127.0.0.1", 0))
        async with line(timing=FAST) as it:
            several = [trunk(odd.port, keep_alive=10) for _ in range(5)]
            async with trunks_of(it, *several) as at_work:
                await until(lambda: len(odd.seen) > 12)
                for one in several:
                    assert state(at_work, one)["state"] in ("failed", "registered", "registering")
            assert "trunk_broken" not in it.log.getvalue()
        wire.close()

    run(story())
