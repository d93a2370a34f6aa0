"""Rules that follow the snapshot and the DNS, and the settings they start from."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.phone.certs import Authority
from tests.phone.dns_server import name_server
from tests.phone.endpoints import line, run, until
from tests.phone.house import House
from tests.phone.test_endpoint_tls import secured

from nightbell.core import clock
from nightbell.core.config import Config, load
from nightbell.core.errors import RefusedStart
from nightbell.core.log import Log
from nightbell.phone import doorkeeper, resolve
from nightbell.phone.certificates import Certificates
from nightbell.phone.doorkeeper import Doorkeeper
from nightbell.phone.resolve import Resolver
from nightbell.phone.snapshot import Limits, Snapshot, verify
from nightbell.phone.streams import Peer
from nightbell.phone.tls import Tls
from nightbell.sip.trunk import Kind, Trunk

NAMED = Trunk("01A", "t", Kind.REGISTER, "carrier.example", user="u")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    house = House(tmp_path_factory.mktemp("house"))
    return verify(house.signed(1), house.signer.public_key().public_bytes_raw())


def with_trunks(snapshot: Snapshot, *trunks: Trunk) -> Snapshot:
    return replace(snapshot, trunks=trunks, limits=Limits(local=False))


def test_it_learns_addresses_and_keeps_those_that_left(
    empty: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorkeeper, "AGAIN", 0.05)
    now = [1000.0]

    async def story() -> None:
        async with line() as it, name_server("carrier.example. 60 A 192.0.2.1") as server:
            resolver = Resolver(["127.0.0.1"], server.port, now=lambda: now[0])
            keeper = Doorkeeper(it.endpoint, resolver, Log("test", io.StringIO()))

            def trunk_of(host: str) -> Trunk | None:
                return it.endpoint.gate.policy.judge(Peer("tls", host, 1)).trunk

            await keeper.begin(with_trunks(empty, NAMED))
            assert trunk_of("192.0.2.1") == NAMED and trunk_of("192.0.2.2") is None
            server.load("carrier.example. 60 A 192.0.2.2")
            now[0] += 100
            work = asyncio.create_task(keeper.run())
            await until(lambda: trunk_of("192.0.2.2"))
            assert trunk_of("192.0.2.1") == NAMED, "a call in progress comes from there"
            keeper.take(with_trunks(empty))
            assert trunk_of("192.0.2.2") is None and not it.endpoint.gate.policy.door("127.0.0.1", False)
            work.cancel()

    run(story())


def test_it_tries_again_soon_while_a_name_is_not_found(
    empty: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorkeeper, "SOON", 0.05)
    monkeypatch.setattr(doorkeeper, "FIRST", 0.2)
    now = [1000.0]

    async def story() -> None:
        async with line() as it, name_server("carrier.example. 60 A 192.0.2.1") as server:
            server.mute, log = True, io.StringIO()
            resolver = Resolver(["127.0.0.1"], server.port, now=lambda: now[0])
            keeper = Doorkeeper(it.endpoint, resolver, Log("test", log))
            await keeper.begin(with_trunks(empty, NAMED))  # returns although nobody answers
            server.mute = False
            work = asyncio.create_task(keeper.run())
            peer = Peer("tls", "192.0.2.1", 1)
            await until(lambda: it.endpoint.gate.policy.judge(peer).trunk)
            work.cancel()

    run(story())


def test_a_restart_while_no_name_server_answers_makes_no_carrier_a_stranger(
    empty: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "LIFETIME", 0.3)
    monkeypatch.setattr(
        doorkeeper, "FIRST", 0.9
    )  # with all four questions running out, one after another, it is 1.2
    zone = "_sips._tcp.carrier.example. 60 SRV 0 0 5081 c.example.\nc.example. 60 A 192.0.2.1"
    snapshot, wall = with_trunks(empty, NAMED), [clock.utc_now()]
    monkeypatch.setattr(clock, "utc_now", lambda: wall[0])

    def known(it: Any) -> bool:
        return it.endpoint.gate.policy.judge(Peer("tls", "192.0.2.1", 1)).trunk == NAMED

    async def story() -> None:
        async with line() as it, name_server(zone) as server:

            def keeper() -> Doorkeeper:
                log = Log("test", io.StringIO())
                return Doorkeeper(it.endpoint, Resolver(["127.0.0.1"], server.port), log, None, tmp_path)

            first = keeper()
            await first.begin(snapshot)
            work = asyncio.create_task(first.run())
            await until((tmp_path / doorkeeper.MEMORY).exists)
            work.cancel()
            server.mute = True
            second = keeper()
            await second.begin(snapshot)
            assert known(it) and 5081 in second.ports and second.restart_for == ()
            wall[0] += timedelta(seconds=resolve.STALE + 60)
            await keeper().begin(snapshot)
            assert not known(it), "a day later it is worth nothing"
            for damage in ("", "{}", "[[1]]", '[["a", "A", ["x"], 9e99]]', '[["a", "A", 5, 9e99]]', "\xff"):
                (tmp_path / doorkeeper.MEMORY).write_text(damage, "latin-1")
                await keeper().begin(with_trunks(empty))
            server.mute = False
            await keeper().begin(snapshot)
            assert known(it)

    run(story())


def test_a_certificate_that_cannot_be_read_stops_no_look_at_the_addresses(
    empty: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def changed(self, log: Log) -> None:
            raise RuntimeError

    async def story() -> None:
        async with line() as it, name_server("carrier.example. 60 A 192.0.2.1") as server:
            resolver, log = Resolver(["127.0.0.1"], server.port), io.StringIO()
            keeper = Doorkeeper(it.endpoint, resolver, Log("test", log), Broken())  # type: ignore[arg-type]
            await keeper.begin(with_trunks(empty))
            keeper.take(with_trunks(empty, NAMED))
            work = asyncio.create_task(keeper.run())
            await until(lambda: it.endpoint.gate.policy.judge(Peer("tls", "192.0.2.1", 1)).trunk)
            assert "certificates" in log.getvalue()
            work.cancel()

    run(story())


def test_a_port_that_was_not_known_at_the_start_needs_a_restart(empty: Snapshot) -> None:
    async def story() -> None:
        async with (
            line() as it,
            name_server(
                "_sips._tcp.carrier.example. 60 SRV 0 0 5081 c.example.\nc.example. 60 A 192.0.2.1"
            ) as dns,
        ):
            keeper = Doorkeeper(it.endpoint, Resolver(["127.0.0.1"], dns.port), Log("test", io.StringIO()))
            await keeper.begin(with_trunks(empty, NAMED))
            assert keeper.ports >= {53, 5060, 5061, 5081} and keeper.restart_for == ()
            late = Trunk("01B", "late", Kind.ADDRESS, proxy="192.0.2.9:5099")
            datagrams = replace(late, id="01C", transport="udp", plain=True)
            keeper.take(with_trunks(empty, NAMED, late, datagrams))
            assert keeper.restart_for == ("01B",)
            states: Mapping[str, dict[str, Any]] = {
                "01A": {"state": "registered"},
                "01B": {"state": "unreachable"},
            }
            assert keeper.marked(states) == {
                "01A": {"state": "registered"},
                "01B": {"state": "failed", "why": "restart"},
            }

    run(story())


def config(home: Path, **more: str) -> Config:
    return load({"NIGHTBELL_HOME": str(home), **more})


def shown(settings: Config) -> Tls:
    return Certificates(settings).load()


def test_which_certificates_it_shows(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, other = authority.issue("a.example"), authority.issue("b.example")
    given = {"NIGHTBELL_SIP_CERT": str(pair.certificate), "NIGHTBELL_SIP_KEY": str(pair.key)}
    assert not shown(config(tmp_path)).listens
    assert shown(config(tmp_path, **given, NIGHTBELL_SIP_CA=str(authority.file))).listens
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "b.example.pem").write_bytes(other.certificate.read_bytes())
    with pytest.raises(RefusedStart, match=r"b\.example\.pem"):
        shown(config(tmp_path, NIGHTBELL_SIP_CERTS=str(folder)))
    (folder / "b.example.key").write_bytes(other.key.read_bytes())
    assert shown(config(tmp_path, NIGHTBELL_SIP_CERTS=str(folder))).listens


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"NIGHTBELL_SIP_CERT": "/x"}, "NIGHTBELL_SIP_KEY"),
        ({"NIGHTBELL_SIP_KEY": "/x"}, "NIGHTBELL_SIP_CERT"),
        ({"NIGHTBELL_SIP_CERT": "/x", "NIGHTBELL_SIP_KEY": "/y"}, "cannot be read"),
        ({"NIGHTBELL_SIP_CERTS": "/nowhere"}, "NIGHTBELL_SIP_CERTS"),
        ({"NIGHTBELL_SIP_CA": "/nowhere"}, "NIGHTBELL_SIP_CA"),
        ({"NIGHTBELL_SIP_CA": "/etc/hostname"}, "NIGHTBELL_SIP_CA"),
        ({"NIGHTBELL_SIP_BIND": "nonsense"}, "NIGHTBELL_SIP_BIND"),
        ({"NIGHTBELL_SIP_BIND": " , "}, "names no address"),
        ({"NIGHTBELL_SIP_BIND": "127.0.0.1,fe80::1%eth0"}, "scope"),
        ({"NIGHTBELL_SIP_PUBLIC": "192.0.2.1,192.0.2.2"}, "NIGHTBELL_SIP_PUBLIC"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(tmp_path: Path, more: dict[str, str], says: str) -> None:
    with pytest.raises(RefusedStart, match=says):
        shown(config(tmp_path, **more))


def test_addresses_to_listen_on(tmp_path: Path) -> None:
    assert config(tmp_path).sip_bind == ("127.0.0.1",)
    assert config(tmp_path, NIGHTBELL_BIND="192.0.2.1").sip_bind == ("192.0.2.1",)
    several = config(tmp_path, NIGHTBELL_SIP_BIND="0.0.0.0, [::],localhost,", NIGHTBELL_BIND="192.0.2.1")
    assert several.sip_bind == ("0.0.0.0", "::", "127.0.0.1")
    public = config(tmp_path, NIGHTBELL_SIP_PUBLIC="203.0.113.5,2001:db8::5")
    assert public.sip_public == ("203.0.113.5", "2001:db8::5")


def test_a_renewed_certificate_is_shown_from_then_on(
    empty: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorkeeper, "AGAIN", 0.05)
    authority = Authority(tmp_path)
    folder = tmp_path / "given"
    folder.mkdir()
    settings = {
        "NIGHTBELL_SIP_CERT": str(folder / "c.pem"),
        "NIGHTBELL_SIP_KEY": str(folder / "c.key"),
        "NIGHTBELL_KEYS": str(tmp_path / "keys"),
    }
    certificates = Certificates(config(tmp_path / "home", **settings))
    assert certificates.folders() == [folder]

    def give(name: str, *, key: bool = True) -> None:
        pair = authority.issue(name)
        (folder / "c.pem").write_bytes(pair.certificate.read_bytes())
        if key:
            (folder / "c.key").write_bytes(pair.key.read_bytes())

    async def story() -> None:
        give("old.example")
        async with line(tls=certificates.load()) as it:
            log = io.StringIO()
            keeper = Doorkeeper(it.endpoint, Resolver(), Log("test", log), certificates)
            await keeper.begin(replace(empty, trunks=()))
            work = asyncio.create_task(keeper.run())
            give("half.example", key=False)
            await until(lambda: "certificates_refused" in log.getvalue())
            async with secured(it, authority.client(), "old.example"):
                pass
            give("new.example")
            await until(lambda: "certificates_taken" in log.getvalue())
            async with secured(it, authority.client(), "new.example"):
                pass
            work.cancel()

    run(story())


def test_no_folder_of_keys_or_data_is_opened_for_a_certificate(tmp_path: Path) -> None:
    for place in ("keys", "keys/sip", "home/tls", "."):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        file = str(tmp_path / place / "c.pem")
        settings = {
            "NIGHTBELL_KEYS": str(tmp_path / "keys"),
            "NIGHTBELL_SIP_CERT": file,
            "NIGHTBELL_SIP_KEY": file,
        }
        assert Certificates(config(tmp_path / "home", **settings)).folders() == []
