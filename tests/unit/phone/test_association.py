"""Whose handshake it is: over real sockets, with strangers who write to the same port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from OpenSSL import SSL
from tests.phone.endpoints import run, until
from tests.unit.phone.rtp_phone import Listener
from tests.unit.phone.test_dtls import security

from nightbell.core.capture import Codec
from nightbell.phone import association, dtls
from nightbell.phone.caller_sound import Sound
from nightbell.phone.media import Media
from nightbell.phone.securing import Securing
from nightbell.phone.session import Peer, Session
from nightbell.phone.sip_call import NO_OFFER
from nightbell.sip.srtp import Fingerprint, Security

RUBBISH = b"\x16\xfe\xfd" + bytes(50)


class Line:
    """A call of ours whose sound is to be encrypted. Its description names a socket from which nothing comes."""

    def __init__(self, media: Media, ours: Security) -> None:
        self.named = plain_socket()
        self.failed: list[tuple[str, bool]] = []
        address = self.named.getsockname()
        peer = Peer(address, Codec.PCMU, 0, 101, secured=True)
        self.session: Session = media.open(peer, Listener())
        self.securing = Securing(self.session, lambda why, keyed: self.failed.append((why, keyed)))
        self.securing.agree(ours, address)
        self.securing.there()
        self.session.confirm()

    def close(self) -> None:
        self.securing.close()
        self.session.close()
        self.named.close()


def plain_socket() -> socket.socket:
    it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    it.bind(("127.0.0.1", 0))
    it.setblocking(False)
    return it


def hello() -> bytes:
    """A client's first datagram, whole and true."""
    sent: list[bytes] = []
    handshake = dtls.Handshake(security("active"), sent.append, lambda keys: None)
    handshake.start()
    handshake.close()
    return sent[0]


def heard(it: socket.socket) -> list[bytes]:
    got = []
    with contextlib.suppress(BlockingIOError):
        while True:
            got.append(it.recv(2048))
    return got


@contextlib.asynccontextmanager
async def line(ours: Security) -> AsyncIterator[Line]:
    media = Media("127.0.0.1", (36000, 37999), asyncio.get_running_loop().call_soon_threadsafe)
    media.start()
    it = Line(media, ours)
    try:
        yield it
    finally:
        it.close()
        media.close()


@contextlib.asynccontextmanager
async def caller(it: Line, theirs: Security) -> AsyncIterator[Sound]:
    """From another address than the description has, as behind a NAT."""
    wire, sound = await asyncio.get_running_loop().create_datagram_endpoint(
        Sound, local_addr=("127.0.0.1", 0)
    )
    host, port = it.session.local
    sound.begin(replace(NO_OFFER, address=host, port=port), Codec.PCMU, theirs)
    sending = asyncio.create_task(sound.run())
    try:
        yield sound
    finally:
        sending.cancel()
        sound.close()
        wire.close()


async def strangers(it: Line, data: Callable[[], bytes], count: int) -> list[socket.socket]:
    """So many write so much, after the time in which only the address of the description counts."""
    await asyncio.sleep(0.6)
    those = [plain_socket() for _ in range(count)]
    for one in those:
        one.sendto(data(), it.session.local)
    await asyncio.sleep(0.1)
    return those


@pytest.mark.parametrize("data", [lambda: RUBBISH, hello])
def test_strangers_who_write_first_do_not_shut_the_caller_out(data: Callable[[], bytes]) -> None:
    async def story() -> None:
        async with line(security("passive")) as it:
            those = await strangers(it, data, 12)
            async with caller(it, security("active")) as sound:
                await asyncio.wait_for(sound.keyed.wait(), 5)
                assert sound.profile
                await until(lambda: it.session.counters.received > 5)
                it.session.play([b"\x55" * 160] * 10, 1)
                await until(lambda: sound.received >= 10)
            assert it.failed == []
            for one in those:
                answers = heard(one)
                assert len(answers) <= 1  # a cookie, never a certificate or sound
                assert all(len(answer) < 60 for answer in answers)
                one.close()

    run(story())


def test_the_address_of_the_description_gets_the_first_hello_and_a_stranger_not_the_call() -> None:
    """As the active side: what comes from elsewhere is asked too, and moves nothing."""

    async def story() -> None:
        async with line(security("active")) as it:
            those = await strangers(it, lambda: RUBBISH, 6)
            assert len(heard(it.named)) >= 1
            loop = asyncio.get_running_loop()
            keys: list[object] = []
            side = dtls.Handshake(
                security("passive"), lambda data: void(it.named.sendto(data, it.session.local)), keys.append
            )
            loop.add_reader(it.named, lambda: [side.feed(data) for data in heard(it.named)])
            await until(lambda: keys)
            assert keys[0] is not None
            loop.remove_reader(it.named)
            side.close()
            for one in those:
                one.close()

    run(story())


def void(_: object) -> None:
    pass


def test_who_has_another_certificate_neither_gets_the_call_nor_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(association, "SECONDS", 3.0)
    other = dtls.Identity()

    async def story() -> None:
        async with line(security("passive", other.fingerprint)) as it:
            await asyncio.sleep(0.6)
            async with caller(it, security("active")):
                await asyncio.sleep(0.5)
                assert it.failed == []
                assert it.session.counters.received == 0
                true = plain_socket()
                connection = SSL.Connection(other.context, None)
                connection.set_app_data(b"-")
                connection.set_ciphertext_mtu(dtls.MTU)
                connection.set_connect_state()
                keys: list[object] = []
                side = dtls.Handshake(
                    security("active"), lambda data: void(true.sendto(data, it.session.local)), keys.append,
                    bound=connection,
                )  # fmt: skip
                loop = asyncio.get_running_loop()
                loop.add_reader(true, lambda: [side.feed(data) for data in heard(true)])
                side.start()
                await until(lambda: keys)
                assert keys[0] is not None
                await asyncio.sleep(0.1)
                assert it.session._latched == it.session.name(true.getsockname())
                assert it.failed == []
                loop.remove_reader(true)
                side.close()
                true.close()

    run(story())


def test_only_the_time_ends_it_and_then_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "SECONDS", 1.5)

    async def story() -> None:
        async with line(security("passive", Fingerprint("sha-256", b"x" * 32))) as it:
            await asyncio.sleep(0.6)
            async with caller(it, security("active")):
                await asyncio.sleep(0.5)
                assert it.failed == []
                await until(lambda: it.failed == [("stranger", False)])

    run(story())


def test_new_keys_that_do_not_come_leave_the_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "SECONDS", 0.5)

    async def story() -> None:
        async with line(security("passive")) as it:
            await asyncio.sleep(0.6)
            it.securing.agree(security("passive"), it.named.getsockname())
            await until(lambda: it.failed == [("stalled", False)])
            it.securing.agree(security("passive"), it.named.getsockname())  # once more, with more luck
            async with caller(it, security("active")) as sound:
                await asyncio.wait_for(sound.keyed.wait(), 5)
                await until(lambda: it.session.counters.received > 0)
                it.securing.agree(
                    security("passive", Fingerprint("sha-256", b"x" * 32)), it.named.getsockname()
                )
                await until(lambda: len(it.failed) == 2)
                assert it.failed[1] == ("stalled", True)
                before = it.session.counters.received
                await until(lambda: it.session.counters.received > before + 5)

    run(story())


def test_no_record_of_ours_has_a_number_twice_whatever_number_the_hello_had() -> None:
    """Else a client that looks for replays drops one, and waits a second for it."""
    cookie = b"c" * 16
    client = SSL.Connection(dtls.identity().context, None)
    client.set_ciphertext_mtu(dtls.MTU)
    client.set_connect_state()
    numbers: list[int] = []

    def numbered(data: bytes, number: int) -> bytes:
        return data[:5] + number.to_bytes(6, "big") + data[11:]

    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    first = dtls.pending(client)
    nothing, answer = dtls.listen(numbered(first, 2), cookie)
    assert nothing is None
    numbers.append(int.from_bytes(answer[5:11], "big"))
    client.bio_write(answer)
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    connection, _ = dtls.listen(numbered(dtls.pending(client), 3), cookie)
    assert connection is not None
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    for record in dtls.datagrams(dtls.pending(connection), 1):
        numbers.append(int.from_bytes(record[5:11], "big"))
    assert len(numbers) > 4
    assert len(set(numbers)) == len(numbers)
