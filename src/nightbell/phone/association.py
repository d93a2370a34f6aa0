"""One agreement on keys, and everybody who may be the other side of it.

Who that is, only the handshake finds out: behind a NAT a caller comes from another address than his description names,
and anyone can write to a call's port. So several are spoken with at once, and the first whose certificate is the one that was
spoken of has it. Nobody else ends the call or moves its sound; only the time does.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable

from nightbell.core import clock
from nightbell.phone import dtls
from nightbell.phone.dtls import Handshake, Rate
from nightbell.sip.srtp import Security, SrtpKeys

SECONDS = dtls.SECONDS  # from the ACK on
MOST = 4  # other sides at once, that of the description among them
AGAIN = 1.0  # seconds before one that was refused is tried once more


class Association:
    """All of it in the event loop. Sources are as `datagrams.name_of` has them.

    send: a datagram and its destination; named: the source that the description names; done: called once, with the keys and
    whose they are, or with None; why: then says which, as `Handshake.why`.
    """

    def __init__(
        self,
        security: Security,
        send: Callable[[bytes, bytes], None],
        done: Callable[[SrtpKeys | None, bytes], None],
        named: bytes,
    ) -> None:
        self.security, self.why = security, "stalled"
        self._send, self._done, self._named = send, done, named
        self._active = security.setup == "active"
        self._sides: dict[bytes, Handshake] = {}
        self._secret, self._rate = secrets.token_bytes(16), Rate()
        self._limit: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._over = False

    def start(self) -> None:
        """The other side has our description: from now on there is a limit, and who is active begins. Idempotent."""
        if self._limit is None and not self._over:
            self._limit = asyncio.get_running_loop().call_later(SECONDS, self._ends)
            if self._active:
                self._begin(self._named)

    def name(self, named: bytes) -> None:
        """The description names this source now."""
        moved, self._named = named != self._named, named
        if moved and self._active and self._limit is not None and not self._over:
            self._begin(named)

    def feed(self, data: bytes, source: bytes) -> None:
        """One datagram."""
        side = self._sides.get(source)
        if side is not None:
            side.feed(data)
        elif not self._over and self._rate.allows(clock.monotonic()):
            if not self._active:
                self._listen(data, source)
            elif self._limit is not None:
                self._begin(source)

    def close(self) -> None:
        """The call is over. Idempotent."""
        self._over = True
        for timer in (self._limit, self._again):
            if timer is not None:
                timer.cancel()
        for side in self._sides.values():
            side.close()
        self._sides = {}

    def _listen(self, data: bytes, source: bytes) -> None:
        if not dtls.says_hello(data):
            return
        connection, answer = dtls.listen(data, hmac.digest(self._secret, source, "sha256")[:16])
        if answer:
            self._send(answer, source)
        if connection is not None:
            side = Handshake(self.security, self._to(source), self._told(source), SECONDS, bound=connection)
            self._add(source, side)
            side.go_on()

    def _begin(self, source: bytes) -> None:
        """As the active side: a hello to there."""
        if source in self._sides or self._over or not source:
            return
        side = Handshake(self.security, self._to(source), self._told(source), SECONDS)
        self._add(source, side)
        side.start()

    def _add(self, source: bytes, side: Handshake) -> None:
        others = [one for one in self._sides if one != self._named]
        if len(others) >= MOST - 1:
            self._sides.pop(others[0]).close()
        self._sides[source] = side

    def _to(self, source: bytes) -> Callable[[bytes], None]:
        return lambda data: self._send(data, source)

    def _told(self, source: bytes) -> Callable[[SrtpKeys | None], None]:
        return lambda keys: self._keys(source, keys)

    def _keys(self, source: bytes, keys: SrtpKeys | None) -> None:
        if self._over:
            return
        if keys is None:
            self._lost(source)
            return
        winner = self._sides.pop(source)
        self.close()
        self._sides = {source: winner}  # which may be asked for our last flight again
        self._done(keys, source)

    def _lost(self, source: bytes) -> None:
        """This one is not the other side, or something forged came between us."""
        side = self._sides.pop(source, None)
        if side is not None and side.why != "stalled":
            self.why = side.why
        if self._active and source == self._named:
            self._again = asyncio.get_running_loop().call_later(AGAIN, lambda: self._begin(self._named))

    def _ends(self) -> None:
        if not self._over:
            self.close()
            self._done(None, b"")
