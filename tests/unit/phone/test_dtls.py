"""The handshake for a call's keys: two of ours and what may go wrong on the way. With others: tests/interop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.phone.endpoints import run, until

from nightbell.phone import dtls
from nightbell.sip.srtp import Fingerprint, Keying, Security, SrtpKeys

Rule = Callable[[str, int, bytes], bool]


def security(setup: str, theirs: Fingerprint | None = None) -> Security:
    ours = dtls.identity().fingerprint
    return Security(Keying.DTLS, fingerprint=ours, setup=setup, theirs=(theirs or ours,))


class Pair:
    """An active and a passive side, and a way between them that loses what `keep` says."""

    def __init__(
        self,
        keep: Rule = lambda way, number, data: True,
        active: Security | None = None,
        passive: Security | None = None,
        seconds: float = 5.0,
    ) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.keys: dict[str, SrtpKeys | None] = {}
        self._keep, self._loop = keep, asyncio.get_running_loop()
        self.active = dtls.Handshake(
            active or security("active"), self._way("out"), self._done("active"), seconds
        )
        self.passive = dtls.Handshake(
            passive or security("passive"), self._way("back"), self._done("passive"), seconds
        )

    def _way(self, way: str) -> Callable[[bytes], None]:
        def send(data: bytes) -> None:
            number = sum(one == way for one, _ in self.sent)
            self.sent.append((way, data))
            if self._keep(way, number, data):
                self._loop.call_soon((self.passive if way == "out" else self.active).feed, data)

        return send

    def _done(self, side: str) -> Callable[[SrtpKeys | None], None]:
        def done(keys: SrtpKeys | None) -> None:
            assert side not in self.keys, "told twice"
            self.keys[side] = keys

        return done

    async def both(self, seconds: float = 6.0) -> None:
        await until(lambda: len(self.keys) == 2, seconds)

    def close(self) -> None:
        self.active.close()
        self.passive.close()


def test_two_sides_have_the_same_keys() -> None:
    async def story() -> None:
        pair = Pair()
        pair.passive.start()
        assert pair.sent == []  # whoever waits sends nothing to an address from which nothing came
        pair.active.start()
        await pair.both()
        active, passive = pair.keys["active"], pair.keys["passive"]
        assert active is not None
        assert passive is not None
        assert (active.profile, active.ours, active.theirs) == (
            passive.profile,
            passive.theirs,
            passive.ours,
        )
        assert active.ours != active.theirs
        assert max(len(data) for _, data in pair.sent) <= dtls.MTU
        assert all(20 <= data[0] <= 63 for _, data in pair.sent)  # told from RTP by this (RFC 5764 §5.1.2)
        pair.close()

    run(story())


def test_nothing_large_goes_to_an_address_that_did_not_answer() -> None:
    """A ClientHello under a false address gets a cookie there, once for each, and never a certificate."""

    async def story() -> None:
        pair = Pair(lambda way, number, data: way == "out")
        pair.active.start()
        await asyncio.sleep(2.5)
        out = [data for way, data in pair.sent if way == "out"]
        back = [data for way, data in pair.sent if way == "back"]
        assert len(out) == len(back) >= 2
        assert sum(map(len, back)) < sum(map(len, out))
        pair.close()

    run(story())


def test_a_datagram_that_is_lost_is_sent_again() -> None:
    async def story(lost: tuple[str, int]) -> None:
        pair = Pair(lambda way, number, data: (way, number) != lost)
        pair.active.start()
        await pair.both()
        assert None not in pair.keys.values(), lost
        pair.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(story((way, number)) for way in ("out", "back") for number in range(3)))

    run(all_of_them())


def test_doubled_datagrams_do_no_harm() -> None:
    async def story() -> None:
        pair = Pair()
        feed = pair.passive.feed
        pair.passive.feed = lambda data: (feed(data), feed(data))[0]  # type: ignore[method-assign]
        pair.active.start()
        await pair.both()
        assert None not in pair.keys.values()
        pair.close()

    run(story())


@pytest.mark.parametrize("side", ["active", "passive"])
def test_another_certificate_than_the_one_spoken_of_gives_no_keys(side: str) -> None:
    async def story() -> None:
        wrong = {side: security(side, Fingerprint("sha-256", b"x" * 32))}
        pair = Pair(**wrong)  # type: ignore[arg-type]
        pair.active.start()
        await until(lambda: side in pair.keys)
        assert pair.keys[side] is None
        assert getattr(pair, side).why == "stranger"
        pair.close()

    run(story())


def test_a_weaker_hash_does_not_help_against_a_stronger_one() -> None:
    ours = dtls.identity().fingerprint
    both = replace(security("passive"), theirs=(ours, Fingerprint("sha-512", b"x" * 64)))

    async def story() -> None:
        pair = Pair(passive=both)
        pair.active.start()
        await until(lambda: "passive" in pair.keys)
        assert pair.keys["passive"] is None
        pair.close()

    run(story())


def test_a_handshake_that_stands_still_ends() -> None:
    async def story() -> None:
        pair = Pair(lambda way, number, data: False, seconds=0.3)
        pair.active.start()
        pair.passive.start()
        await pair.both(2)
        assert pair.keys == {"active": None, "passive": None}
        assert (pair.active.why, pair.passive.why) == ("stalled", "stalled")
        sent = len(pair.sent)
        await asyncio.sleep(1.2)
        assert len(pair.sent) == sent  # and nothing is sent afterwards

    run(story())


@pytest.mark.parametrize(
    "forged",
    [
        b"\x16",
        b"\x16\xfe\xfd" + bytes(50),
        b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28",  # a fatal alert that anyone can write
        b"\x16\xfe\xfd" + bytes(8) + b"\x00\x0c\x0b" + bytes(11),  # a message out of turn
        b"\x14" * 1500,
    ],
)
def test_forged_datagrams_before_the_first_true_one_change_nothing(forged: bytes) -> None:
    async def story() -> None:
        pair = Pair()
        for _ in range(3):
            pair.passive.feed(forged)
        pair.active.start()
        await pair.both()
        assert None not in pair.keys.values()
        pair.close()

    run(story())


def test_a_flood_of_them_is_not_worked_on_for_ever() -> None:
    async def story() -> None:
        pair = Pair(seconds=0.5)
        for number in range(5000):
            pair.passive.feed(b"\x16\xfe\xfd" + number.to_bytes(8, "big") + b"\x00\x01\x00")
        await until(lambda: "passive" in pair.keys, 2)
        assert pair.keys["passive"] is None
        pair.close()

    run(story())


def test_it_ends_when_the_call_does() -> None:
    async def story() -> None:
        pair = Pair(lambda way, number, data: False, seconds=0.2)
        pair.active.start()
        pair.close()
        pair.close()
        pair.passive.feed(b"\x16" * 20)
        await asyncio.sleep(0.4)
        assert pair.keys == {}

    run(story())


def test_records_become_datagrams() -> None:
    def record(size: int) -> bytes:
        return b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2, "big") + bytes(size)

    assert dtls.datagrams(b"") == []
    assert dtls.datagrams(record(10) + record(20), 100) == [record(10) + record(20)]
    assert dtls.datagrams(record(50) + record(50) + record(1), 100) == [record(50), record(50) + record(1)]
    assert dtls.datagrams(record(500) + record(5), 100) == [record(500), record(5)]
    assert b"".join(dtls.datagrams(b"\x16\xfe", 100)) == b"\x16\xfe"
