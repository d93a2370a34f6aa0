"""Finding a carrier's servers, against a real name server on loopback (RFC 3263)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.phone.dns_server import Server, name_server
from tests.phone.endpoints import CODECS, LOCAL, line, run

from nightbell.phone import resolve
from nightbell.phone.resolve import Resolver, Unresolved, by_weight, trunk_targets
from nightbell.phone.streams import Peer
from nightbell.sip.trunk import Kind, Trunk

ZONE = """
carrier.example. 60 NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.carrier.example.
carrier.example. 60 NAPTR 10 10 "s" "SIPS+D2T" "" _secure.other.example.
_secure.other.example. 60 SRV 20 0 5071 backup.other.example.
_secure.other.example. 60 SRV 10 0 5061 main.other.example.
main.other.example. 60 A 192.0.2.1
main.other.example. 60 AAAA 2001:db8::1
backup.other.example. 60 A 192.0.2.2
_sip._udp.carrier.example. 60 SRV 1 0 5060 main.other.example.
srv-only.example. 60 A 192.0.2.99
_sips._tcp.srv-only.example. 60 SRV 1 90 5061 heavy.example.
_sips._tcp.srv-only.example. 60 SRV 1 10 5061 light.example.
heavy.example. 60 A 192.0.2.10
light.example. 60 A 192.0.2.11
plain.example. 60 A 192.0.2.20
none.example. 60 A 192.0.2.30
_sips._tcp.none.example. 60 SRV 0 0 5061 .
short.example. 1 A 192.0.2.40
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def resolver(server: Server, clock: Clock | None = None) -> Resolver:
    return Resolver(["127.0.0.1"], server.port, now=clock or Clock())


def places(found: tuple[Peer, ...]) -> list[tuple[str, int]]:
    return [(peer.host, peer.port) for peer in found]


def test_naptr_then_srv_then_addresses_in_their_order() -> None:
    async def story() -> None:
        async with name_server(ZONE) as server:
            it = resolver(server)
            found = await it.targets("Carrier.Example.", 0, "tls")
            assert places(found) == [("192.0.2.1", 5061), ("2001:db8::1", 5061), ("192.0.2.2", 5071)]
            # Whatever the DNS says its servers are called: the domain must be proved (RFC 5922 §4).
            assert {peer.name for peer in found} == {"carrier.example"}
            assert places(await it.targets("carrier.example", 0, "udp"))[0] == ("192.0.2.1", 5060)

    run(story())


def test_without_srv_the_host_itself_and_with_a_port_no_srv_at_all() -> None:
    async def story() -> None:
        async with name_server(ZONE) as server:
            it = resolver(server)
            assert places(await it.targets("plain.example", 0, "tls")) == [("192.0.2.20", 5061)]
            assert places(await it.targets("srv-only.example", 5099, "tls")) == [("192.0.2.99", 5099)]
            server.asked.clear()
            assert places(await it.targets("192.0.2.7", 0, "tcp")) == [("192.0.2.7", 5060)]
            assert places(await it.targets("2001:db8::7", 0, "tls")) == [("2001:db8::7", 5061)]
            assert places(await it.targets("localhost", 0, "udp"))[0] == ("127.0.0.1", 5060)
            assert server.asked == []

    run(story())


def test_weights_share_the_load() -> None:
    async def story() -> None:
        async with name_server(ZONE) as server:
            it = resolver(server)
            first = [places(await it.targets("srv-only.example", 0, "tls"))[0][0] for _ in range(200)]
            assert 140 < first.count("192.0.2.10") < 200

    run(story())


def test_the_lot_follows_priority_and_weight() -> None:
    """RFC 2782: the running sum that first reaches the lot; those without weight only by the lot 0."""

    def record(priority: int, weight: int) -> SimpleNamespace:
        return SimpleNamespace(priority=priority, weight=weight)

    services = [record(2, 9), record(1, 30), record(1, 0), record(1, 10)]

    def order(*lots: int) -> list[int]:
        given = list(lots)

        def chance(below: int) -> int:
            return min(below - 1, given.pop(0) if given else 0)

        return [one.weight for one in by_weight(services, chance)]

    assert order(0) == [0, 10, 30, 9]
    assert order(10) == [10, 0, 30, 9]
    assert order(11, 10) == [30, 10, 0, 9]
    assert order(99, 99, 99, 99) == [30, 10, 0, 9]
    assert by_weight([], lambda below: 0) == []


@pytest.mark.parametrize("host", ["none.example", "missing.example", "fe80::1%lo", "a..b", "x" * 300])
def test_what_has_no_server_is_said_so(host: str) -> None:
    async def story() -> None:
        async with name_server(ZONE) as server:
            with pytest.raises(Unresolved):
                await resolver(server).targets(host, 0, "tls")

    run(story())


def test_answers_are_kept_as_long_as_they_say_and_no_answer_too() -> None:
    async def story() -> None:
        async with name_server(ZONE) as server:
            clock = Clock()
            it = resolver(server, clock)
            for _ in range(3):
                await it.targets("short.example", 5060, "udp")
                with pytest.raises(Unresolved):
                    await it.targets("missing.example", 5060, "udp")
            assert server.asked.count(("short.example.", "A")) == 1
            assert server.asked.count(("missing.example.", "A")) == 1
            clock.now += resolve.SHORTEST + 1  # a second is too short to be believed
            await it.targets("short.example", 5060, "udp")
            assert server.asked.count(("short.example.", "A")) == 2

    run(story())


def test_a_name_server_that_is_away_costs_no_line_that_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "LIFETIME", 0.3)

    async def story() -> None:
        async with name_server(ZONE) as server:
            clock = Clock()
            it = resolver(server, clock)
            before = await it.targets("plain.example", 5061, "tls")
            server.mute, clock.now = True, clock.now + 4000
            assert await it.targets("plain.example", 5061, "tls") == before
            asked = len(server.asked)
            assert await it.targets("plain.example", 5061, "tls") == before
            assert len(server.asked) == asked, "it asks again at each use"
            clock.now += resolve.STALE + 10
            with pytest.raises(Unresolved):
                await it.targets("plain.example", 5061, "tls")

    run(story())


def test_it_keeps_a_bounded_number_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "MOST_KEPT", 4)

    async def story() -> None:
        async with name_server(ZONE) as server:
            it = resolver(server)
            for number in range(10):
                with pytest.raises(Unresolved):
                    await it.targets(f"n{number}.example", 5060, "udp")
            assert len(it._kept) <= 4

    run(story())


def test_a_trunks_servers_and_all_addresses_it_may_speak_from() -> None:
    trunk = Trunk("01A", "t", Kind.REGISTER, "carrier.example", "plain.example:5081", user="u")

    async def story() -> None:
        async with name_server(ZONE) as server:
            it = resolver(server)
            found = await trunk_targets(it, trunk)
            assert places(found) == [("192.0.2.20", 5081)] and found[0].name == "plain.example"
            numeric = Trunk("01B", "t", Kind.REGISTER, "carrier.example", "192.0.2.8", user="u")
            assert await trunk_targets(it, numeric) == (
                Peer("tls", "192.0.2.8", 5061, 0, "", "carrier.example"),
            )
            it.families = {6}
            with pytest.raises(Unresolved):
                await trunk_targets(it, numeric)
            assert places(await it.targets("carrier.example", 0, "tls")) == [("2001:db8::1", 5061)]
            it.families = {4, 6}
            assert await it.addresses(trunk) == {"192.0.2.20", "192.0.2.1", "2001:db8::1", "192.0.2.2"}

    run(story())


def test_hosts_of_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1 localhost\n192.0.2.5 PBX.lan pbx # ours\nfe80::1%eth0 link\nnonsense\n")
    assert resolve._hosts(file) == {
        "localhost": ("127.0.0.1",),
        "pbx.lan": ("192.0.2.5",),
        "pbx": ("192.0.2.5",),
    }
    assert resolve._hosts(tmp_path / "missing") == {}


@pytest.mark.parametrize("trouble", ["silent", "503", "closed"])
def test_a_call_goes_to_the_next_server_when_the_first_cannot(trouble: str) -> None:
    async def story() -> None:
        async with line() as second, line(lambda call: call.reject(503)) as busy, line() as caller:
            silent = await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
            )
            first = {
                "silent": silent[0].get_extra_info("sockname")[1],
                "503": busy.endpoint.port,
                "closed": busy.endpoint.port + 1,
            }[trouble]
            transport = "tcp" if trouble == "closed" else "udp"
            zone = f"""
                _sip._{transport}.carrier.example. 60 SRV 1 0 {first} main.example.
                _sip._{transport}.carrier.example. 60 SRV 2 0 {second.endpoint.port} main.example.
                main.example. 60 A 127.0.0.1
            """
            async with name_server(zone) as server:
                caller.endpoint.resolver = Resolver(["127.0.0.1"], server.port, now=time.monotonic)
                leg = await caller.endpoint.dial(
                    f"sip:a@carrier.example;transport={transport}", LOCAL, CODECS
                )
                assert leg.peer.port == second.endpoint.port
                assert caller.endpoint.counters["failed_over"] == 1
                leg.hangup()
            silent[0].close()

    run(story())
