"""One trunk's registration and signs of life."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nightbell.core import clock
from nightbell.core.errors import TemporaryError
from nightbell.core.log import Log
from nightbell.phone.layer import Layer
from nightbell.phone.sip_transactions import new_tag
from nightbell.phone.transport import Peer
from nightbell.sip import digest, registration
from nightbell.sip.digest import Credentials, Refusal, Session
from nightbell.sip.grammar import printable
from nightbell.sip.message import Response, build_request
from nightbell.sip.registration import Why
from nightbell.sip.trunk import Kind, Trunk

TRIES = 5  # requests of one round at one server: challenge, stale nonces, a longer interval
PATIENCE = 16  # times T1 for an answer: not timer F's 64, so that the next server, or the alarm, comes within a minute
SILENT = 900.0  # seconds after which a carrier that never asks and is not asked counts as unknown again
IDLE = 30.0
LASTING = 60.0  # seconds after which a connection that ends was a good one


class Link:
    """Runs as one task: a round, then a pause in which signs of life are looked for."""

    def __init__(
        self,
        trunk: Trunk,
        layer: Layer,
        resolve: Callable[[Trunk], Awaitable[Sequence[Peer]]],
        log: Log,
    ) -> None:
        self.trunk = trunk
        self._layer, self._resolve, self._log = layer, resolve, log
        self._timing = layer.timing
        self._call_id, self._tag, self._cseq = secrets.token_hex(16), new_tag(), 0
        self._sessions: dict[
            str, Session
        ] = {}  # by header: a proxy on the way and the registrar may both ask
        self._outbound = True  # until the way there says that it cannot (RFC 5626 §11.6)
        self._peer: Peer | None = None
        self._expires = trunk.expires
        self._failures, self._away, self._losses = 0, False, 0
        self._answers = False  # whether the last look found somebody
        self._registered_at = 0.0
        self._heard_at = -SILENT
        self._wake = asyncio.Event()
        self._realm = ""
        self._algorithms: tuple[str, ...] = ()
        self._rtt: float | None = None
        watched = trunk.kind is Kind.REGISTER
        self._state, self._code, self._why = "registering" if watched else "off", 0, ""
        self._since = clock.utc_now()

    # What others tell.

    def change(self, trunk: Trunk) -> None:
        """The same registration with another password, interval or name."""
        asks = (self.trunk.realm, self.trunk.ha1, self.trunk.expires) != (
            trunk.realm,
            trunk.ha1,
            trunk.expires,
        )
        self.trunk = trunk
        if asks:
            self._sessions, self._failures, self._expires = {}, 0, trunk.expires
            if self._state == "failed":
                self._stands("registering")
            self._wake.set()

    def ask(self) -> None:
        """Somebody wants to know now: a round out of turn."""
        self._wake.set()

    def heard(self) -> None:
        self._heard_at = clock.monotonic()
        if not self._asks():
            self._stands("reachable")

    def lost(self, peer: Peer) -> None:
        """Its connection is gone: register anew, since calls cannot come by it. A server that hangs up each time is not
        stormed."""
        if self._peer is None or self._peer.flow != peer.flow or self._state != "registered":
            return
        stood = clock.monotonic() - self._registered_at
        self._losses = self._losses + 1 if stood < LASTING * self._timing.second else 0
        self._log("trunk_connection_lost", reference=self.trunk.id, count=self._losses)
        delay = min(LASTING, 2.0**self._losses - 1) * self._timing.second
        asyncio.get_running_loop().call_later(delay, self._wake.set)

    @property
    def registered_with(self) -> Peer | None:
        return self._peer if self._state == "registered" else None

    def state(self) -> dict[str, Any]:
        return {
            "state": self._state,
            "code": self._code,
            "since": clock.iso(self._since),
            "realm": self._realm,
            "algorithms": list(self._algorithms),
            "rtt_ms": self._rtt,
            "why": self._why,
        }

    # The task.

    async def run(self) -> None:
        """Never ends by itself, never fails."""
        while True:
            self._wake.clear()
            try:
                seconds = await self._round()
                await self._pause(seconds)
            except Exception as error:
                self._log.failure("trunk_broken", error, reference=self.trunk.id)
                await asyncio.sleep(IDLE * self._timing.second)

    async def unregister(self) -> None:
        """Take the registration back, if there is one."""
        if self._peer is not None:
            await self._register_at(self._peer, 0)

    async def _round(self) -> float:
        """Ask once. Returns seconds until the next round."""
        if self.trunk.kind is Kind.REGISTER:
            return await self._register()
        if self._asks():
            answered, code, why = await self._look()
            self._stands("reachable" if answered else "unreachable", code, why.value)
            return float(self.trunk.keep_alive)
        if clock.monotonic() - self._heard_at > SILENT * self._timing.second:
            self._stands("off")
        return IDLE

    def _asks(self) -> bool:
        """Whether we ask the carrier ourselves how it is."""
        trunk = self.trunk
        return trunk.kind is Kind.REGISTER or bool(trunk.keep_alive and (trunk.proxy or trunk.domain))

    async def _pause(self, seconds: float) -> None:
        """Until the next round is due: by the time, by a change, or because the carrier went away or came back."""
        second, ends = self._timing.second, clock.monotonic() + seconds * self._timing.second
        watched = self.trunk.kind is Kind.REGISTER and self.trunk.keep_alive > 0
        while (left := ends - clock.monotonic()) > 0:
            step = min(left, self.trunk.keep_alive * second) if watched else left
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), step)
            if self._wake.is_set() or not watched or clock.monotonic() >= ends:
                return
            before, self._answers = self._answers, (await self._look())[0]
            if self._state == "registered":
                if not self._answers:
                    return
            elif self._away and self._answers and not before:
                return  # it is back; should it refuse all the same, the pauses grow as ever

    # Registering.

    async def _register(self) -> float:
        try:
            targets = list(await self._resolve(self.trunk))
        except TemporaryError:
            return self._failed(0, Why.UNRESOLVED, away=True)
        if self._peer in targets:
            targets.remove(self._peer)
            targets.insert(0, self._peer)
        seconds = 0.0
        for peer in targets:
            seconds = await self._register_at(peer, self._expires)
            if self._state == "registered" or not self._away:
                break
        return seconds

    async def _register_at(self, peer: Peer, expires: int) -> float:
        for _ in range(TRIES):
            tied = peer.reliable and self._outbound
            ours = registration.contact(self._layer.contact(peer), self.trunk, tied)
            response = await self._send_register(peer, ours, expires)
            if response is None:
                return self._failed(0, Why.NO_ANSWER, away=True)
            if response.code < 300:
                return self._registered(response, peer, ours, expires)
            if response.code in (401, 407):
                refusal = self._challenged(response)
                if refusal:
                    return self._failed(response.code, Why(refusal.value))
            elif response.code == 423 and registration.min_expires(response, expires) > expires:
                expires = self._expires = registration.min_expires(response, expires)
            elif response.code == registration.LACKS_OUTBOUND and self._outbound:
                self._outbound = False
            else:
                gone = registration.away(response.code)
                return self._failed(response.code, Why.UNAVAILABLE if gone else Why.REFUSED, gone)
        return self._failed(response.code if response else 0, Why.CHALLENGE)

    async def _send_register(self, peer: Peer, ours: str, expires: int) -> Response | None:
        self._cseq += 1
        branch, uri = self._layer.branch(), f"sip:{self.trunk.domain}"
        call = (self._call_id, self._tag, self._cseq)
        via = self._layer.via(peer, branch)
        lines = registration.lines(self.trunk, via, ours, call, expires, self._outbound)
        for header, session in self._sessions.items():
            cnonce = secrets.token_hex(16)
            self._sessions[header], line = digest.answer(
                session, self._credentials(), "REGISTER", uri, cnonce
            )
            lines.append(line)
        return await self._ask("REGISTER", build_request("REGISTER", uri, lines), peer, branch)

    def _credentials(self) -> Credentials:
        return Credentials(self.trunk.user, self.trunk.realm, self.trunk.ha1)

    def _challenged(self, response: Response) -> Refusal:
        """Take up a challenge, or say why not. The realm that it names is told: the password's form depends on it."""
        offer = digest.offered(response.headers, response.code)
        ours = [one for one in offer if one.realm == self.trunk.realm] or list(offer)
        if ours:
            self._realm = printable(ours[0].realm, 255)
            same = [one.algorithm for one in ours if one.realm == ours[0].realm]
            self._algorithms = tuple(dict.fromkeys(printable(one, 40) for one in same))
        if offer and not self.trunk.realm:
            return Refusal.PASSWORD  # the worker makes HA1 of it now
        before = self._sessions.get(digest.header_for(response.code))
        found = digest.challenged(response.code, response.headers, self._credentials(), before)
        if isinstance(found, Refusal):
            self._sessions = {}
            return found
        self._sessions[found.header] = found
        return Refusal.NONE

    def _registered(self, response: Response, peer: Peer, ours: str, expires: int) -> float:
        for header, session in self._sessions.items():
            self._sessions[header] = digest.believed(session, response.headers)
        seconds = registration.granted(response, ours, expires)
        if not seconds:
            return self._failed(response.code, Why.REFUSED) if expires else 0.0
        self._peer, self._failures, self._away = peer, 0, False
        self._registered_at, self._answers = clock.monotonic(), True
        self._stands("registered")
        return seconds * registration.REFRESH_AT

    def _failed(self, code: int, why: Why, away: bool = False) -> float:
        self._failures += 1
        self._away = away
        waits_for_password = why is Why.PASSWORD and not self.trunk.realm
        self._stands("registering" if waits_for_password else "failed", code, why.value)
        return registration.back_off(self._failures, away, secrets.randbelow(1_000) / 1_000)

    # Signs of life.

    async def _look(self) -> tuple[bool, int, Why]:
        """Whether one of its servers answers OPTIONS, with whatever but that it cannot at present; the last code, and why."""
        try:
            targets = list(await self._resolve(self.trunk))
        except TemporaryError:
            return False, 0, Why.UNRESOLVED
        if self._state == "registered" and self._peer is not None:
            targets = [self._peer]  # the one by which calls come
        code, why = 0, Why.UNRESOLVED
        for peer in targets:
            response = await self._options(peer)
            if response is not None and response.code not in (408, 503):
                return True, 0, Why.NONE
            code = response.code if response is not None else 0
            why = Why.UNAVAILABLE if response is not None else Why.NO_ANSWER
        return False, code, why

    async def _options(self, peer: Peer) -> Response | None:
        branch = self._layer.branch()
        host = self.trunk.domain or self.trunk.proxy
        uri = f"sip:{f'[{host}]' if host.count(':') > 1 and not host.startswith('[') else host}"
        lines = [
            ("Via", self._layer.via(peer, branch)),
            ("Max-Forwards", "70"),
            ("From", f"<{uri}>;tag={new_tag()}"),
            ("To", f"<{uri}>"),
            ("Call-ID", secrets.token_hex(16)),
            ("CSeq", "1 OPTIONS"),
            ("Contact", self._layer.contact(peer)),
            ("Accept", "application/sdp"),
        ]
        return await self._ask("OPTIONS", build_request("OPTIONS", uri, lines), peer, branch)

    async def _ask(self, method: str, data: bytes, peer: Peer, branch: str) -> Response | None:
        """One request and its final answer; None where none came in time."""
        answer: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

        def told(response: Response | None) -> None:
            if not answer.done() and (response is None or response.code >= 200):
                answer.set_result(response)

        began = clock.monotonic()
        client = self._layer.start(method, data, peer, branch, told)
        try:
            async with asyncio.timeout(PATIENCE * self._timing.t1):
                response = await answer
        except TimeoutError:
            return None
        finally:
            if not answer.done() or answer.cancelled():
                self._layer.forget_client(client)
        if response is not None:
            self._rtt = round((clock.monotonic() - began) * 1000, 1)
        return response

    def _stands(self, state: str, code: int = 0, why: str = "") -> None:
        if state != self._state:
            self._since = clock.utc_now()
            self._log("trunk", reference=self.trunk.id, state=state, code=code, reason=why or "none")
        self._state, self._code, self._why = state, code, why
