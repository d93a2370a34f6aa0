"""What calls over several processes are made of, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.phone.endpoints import line, message, offer, phone, run, until
from tests.phone.house import House

from nightbell.core.capture import Codec
from nightbell.core.config import load
from nightbell.core.errors import RefusedStart
from nightbell.phone.legs import Answer, Counterpart, HangUp, Stats, quotable
from nightbell.phone.media import Media
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.snapshot import BadSnapshot, Holder
from nightbell.sip.srtp import Fingerprint


def test_a_process_follows_the_snapshot_that_another_one_took(tmp_path: Path) -> None:
    house = House(tmp_path)
    front, engine = Holder(house.folder), Holder(house.folder)
    front.take(house.signed(2))
    assert engine.current.version == 1
    assert engine.reload(2, 100.0).version == 2
    assert 100 <= engine.age() < 101
    assert engine.reload(2, 0.0).version == 2
    assert engine.age() < 1


def test_a_process_follows_no_older_snapshot_and_none_that_is_forged(tmp_path: Path) -> None:
    house = House(tmp_path)
    engine = Holder(house.folder)
    engine.take(house.signed(3))
    file = house.folder / "snapshot.json"
    file.write_bytes(house.signed(2))
    with pytest.raises(BadSnapshot):
        engine.reload(2, 0.0)
    file.write_bytes(House(tmp_path / "other").signed(9))
    with pytest.raises(RefusedStart):
        engine.reload(9, 0.0)
    assert engine.current.version == 3


def test_resting_ports_are_used_after_all_others() -> None:
    media = Media("127.0.0.1", (39_000, 39_019), lambda *_: None)
    resting = {39_000, 39_004, 39_018}
    media.rest(resting)
    sockets = [media._bind("") for _ in range(10)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    assert set(ports[-3:]) == resting


def test_counters_add_up_and_a_process_that_ended_holds_nothing_open() -> None:
    one = Stats({"received": 5}, {"opened": 2}, {"missed": 1}, 2, 3, 0.5)
    other = Stats({"received": 1, "bad": 1}, {}, {}, 1, 1, 0.25)
    assert one.past().plus(other) == Stats({"received": 6, "bad": 1}, {"opened": 2}, {"missed": 1}, 1, 4, 0.5)


def test_an_engine_writes_no_sip_of_its_own() -> None:
    """Whoever rules one engine must not speak to carriers in our name."""

    async def story() -> None:
        calls: list[Counterpart] = []

        def on_call(leg: IncomingCall) -> None:
            call = Counterpart(1, leg, False)
            call.local, call.ports = "127.0.0.1", (40_000, 40_099)
            calls.append(call)

        async with line(on_call) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            await until(lambda: calls)
            [call] = calls
            print_ = Fingerprint("sha-256 x\r\na=evil", bytes(32))
            for wrong in (
                Answer(1, "127.0.0.1\r\na=evil:1", 40_000, Codec.PCMU, None),
                Answer(1, "192.0.2.1", 40_000, Codec.PCMU, None),
                Answer(1, "127.0.0.1", 22, Codec.PCMU, None),
                Answer(1, "127.0.0.1", 40_000, Codec.PCMU, print_),
                Answer(1, "127.0.0.1", 40_000, Codec.PCMU, Fingerprint("sha-256", b"x")),
            ):
                with pytest.raises(ValueError, match="engine"):
                    call.take(wrong)
            assert not call.answered
            call.take(Answer(1, "127.0.0.1", 40_000, Codec.PCMU, Fingerprint("sha-256", bytes(32))))
            answer = await client.response()
            assert answer.code == 200
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            await until(lambda: call.leg.confirmed)
            call.take(HangUp(1, 9999, 'x"\r\nVia: evil'))
            assert (await client.request()).get("reason") == ""
            assert quotable('x"\r\n\\Via: evil é') == "xVia: evil "

    run(story())


def test_the_number_of_processes_is_the_cores_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, processes in ((1, 1), (2, 1), (3, 2), (8, 7), (64, 16)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _pid, cores=cores: set(range(cores)))
        assert load({}).phone_processes == processes
    assert load({"NIGHTBELL_PHONE_PROCESSES": "3"}).phone_processes == 3
    for wrong in ("0", "17", "two", "-1", "1.5", "²"):
        with pytest.raises(RefusedStart):
            load({"NIGHTBELL_PHONE_PROCESSES": wrong})
