"""Placing a call that the worker ordered: by which trunk, in whose name, and why it came to nothing.

Only an order of the worker begins one. A number is dialled by a trunk alone; an address only where whoever is on this machine
may call too (limits.local), and only at this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError, TemporaryError
from nightbell.core.ids import is_ulid
from nightbell.phone.endpoint import Endpoint
from nightbell.phone.resolve import Resolver
from nightbell.phone.sip_dial import CallFailed, OutgoingCall
from nightbell.phone.transport import Peer
from nightbell.phone.trunk_link import PATIENCE
from nightbell.sip.digest import Credentials
from nightbell.sip.grammar import parse_uri
from nightbell.sip.srtp import Keying
from nightbell.sip.trunk import Trunk, host_port

RING_S, MOST_RING_S = 25, 120
MAX_S, MOST_S = 3_600, 14_400
RINGING = 180
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}\Z")
_CALLER = re.compile(r"[A-Za-z0-9+._-]{1,40}\Z")
_BUSY, _NO_ANSWER, _REFUSED = (486, 600), (408, 480, 487), (433, 603, 607, 608)

# The account, not the person: nothing paid for, this number or this caller not for us, a password that is wrong.
NOT_BY_THIS_CARRIER = (401, 402, 403, 407)


class NotPlaced(NightbellError):
    """No call came of it. why: as a "leg" event has it; code: the SIP status, 0 where none came."""

    def __init__(self, why: str, code: int = 0) -> None:
        self.why, self.code = why, code
        super().__init__("a call to staff", why)


def why(code: int) -> str:
    """What a final status says of the person who was called."""
    if code in _BUSY:
        return "busy"
    if code in _NO_ANSWER:
        return "no_answer"
    return "refused" if code in _REFUSED else "unreachable"


def is_passed_over(code: int) -> bool:
    """Whether a final status speaks of the carrier and not of the person, so that another way is tried. Pure."""
    return 500 <= code < 600 or code in NOT_BY_THIS_CARRIER


@dataclass(frozen=True, slots=True)
class Order:
    """place_call. to: E.164 with its plus sign, or a SIP URI; caller: the number that is shown; trunk: its id, '' for any;
    ring_s: seconds until it counts as not answered; max_s: seconds from the answer to the end."""

    call: str
    to: str
    caller: str
    trunk: str
    practice: str
    ring_s: int
    max_s: int

    @property
    def by_number(self) -> bool:
        return not self.to.startswith(("sip:", "sips:"))


def read_order(data: Mapping[str, Any]) -> Order:
    """Raises NotPlaced ('not_allowed') for a number or name that cannot be called or shown, ValueError for what is no order."""
    call = str(data.get("call", ""))
    if not is_ulid(call):
        raise ValueError("a call has no id")
    to, caller = str(data.get("to", "")), str(data.get("caller", ""))
    ring, most = data.get("ring_s", RING_S), data.get("max_s", MAX_S)
    if type(ring) is not int or type(most) is not int:
        raise NotPlaced("not_allowed", 400)
    order = Order(
        call, to, caller, str(data.get("trunk", "")), str(data.get("practice", "")),
        min(max(ring, 1), MOST_RING_S), min(max(most, 1), MOST_S),
    )  # fmt: skip
    if not _CALLER.match(caller) or (order.by_number and not _NUMBER.match(to)):
        raise NotPlaced("not_allowed", 400)
    return order


@dataclass(frozen=True, slots=True)
class Way:
    """One server to try. target: Request-URI; sender: From; asserted: it trusts us with that; keying, required: as
    sip_dial.OutgoingCall has them."""

    peer: Peer
    target: str
    sender: str = ""
    asserted: bool = False
    keying: Keying | None = None
    required: bool = True
    credentials: Callable[[str], Credentials] | None = None
    trunk: str = ""


class Ways(Protocol):
    """The trunks, as phone.trunks has them."""

    def dialling(self) -> list[Trunk]: ...

    async def servers(self, trunk: Trunk) -> list[Peer]: ...


class Dialler:
    """Finds the ways and tries them."""

    def __init__(
        self, endpoint: Endpoint, trunks: Ways, resolver: Resolver, local: Callable[[], bool]
    ) -> None:
        """local: whether addresses at this machine may be dialled."""
        self._endpoint, self._trunks, self._resolver, self._local = endpoint, trunks, resolver, local

    async def ways(self, order: Order) -> list[Way]:
        """At least one. Raises NotPlaced."""
        if not order.by_number:
            return await self._here(order)
        trunks = [one for one in self._trunks.dialling() if order.trunk in ("", one.id)]
        if not trunks:
            raise NotPlaced("no_trunk")
        found: list[Way] = []
        for trunk in trunks:
            with contextlib.suppress(TemporaryError):
                found += [by_trunk(trunk, peer, order) for peer in await self._trunks.servers(trunk)]
        if not found:
            raise NotPlaced("unreachable")
        return found

    async def _here(self, order: Order) -> list[Way]:
        if not self._local():
            raise NotPlaced("not_allowed", 403)
        try:
            target = parse_uri(order.to)
            way = "tls" if target.scheme == "sips" else (target.param("transport") or "udp").lower()
            if way not in ("udp", "tcp", "tls"):
                raise NotPlaced("not_allowed", 416)
            peers = await self._resolver.targets(target.host.strip("[]"), target.port or 0, way)
        except ValueError as error:
            raise NotPlaced("not_allowed", 400) from error
        except TemporaryError as error:
            raise NotPlaced("unreachable") from error
        own = [peer for peer in peers if self._endpoint.layer.transport.is_own(peer.host)]
        if not own:
            raise NotPlaced("not_allowed", 403)
        return [Way(peer, order.to) for peer in own]

    async def dial(
        self,
        order: Order,
        codecs: tuple[Codec, ...],
        opened: Callable[[Peer], tuple[str, int]],
        made: Callable[[OutgoingCall], None],
        rings: Callable[[], None],
    ) -> OutgoingCall:
        """The answered call. opened(peer): address and port of our sound for that server; made(call): one is under way;
        rings(): the other telephone does. Raises NotPlaced, NoPort. Cancel the task to give up.

        Who does not answer, or says that he cannot now, is passed over for the next server (RFC 3263 §4.3); a carrier that
        does not take the call, for the next carrier. What the person's own telephone said stands: once it has rung, no
        other way is tried.
        """
        failed = NotPlaced("no_answer", 408)
        rung, refusing = False, set[str]()

        def ringing() -> None:
            nonlocal rung
            rung = True
            rings()

        try:
            async with asyncio.timeout(order.ring_s):
                for way in await self.ways(order):
                    if way.trunk and way.trunk in refusing:
                        continue
                    try:
                        return await self._try(way, order, codecs, opened(way.peer), made, ringing)
                    except CallFailed as error:
                        silent = error.code == 408 and error.reason in ("no answer", "silent")
                        failed = NotPlaced("unreachable" if silent else why(error.code), error.code)
                        if not silent and (rung or not is_passed_over(error.code)):
                            break
                        if error.code in NOT_BY_THIS_CARRIER:
                            refusing.add(way.trunk)
                        self._endpoint.counters["failed_over"] += 1
        except TimeoutError:
            failed = NotPlaced("no_answer", 408)
        raise failed

    async def _try(
        self,
        way: Way,
        order: Order,
        codecs: tuple[Codec, ...],
        local: tuple[str, int],
        made: Callable[[OutgoingCall], None],
        rings: Callable[[], None],
    ) -> OutgoingCall:
        call = OutgoingCall(
            self._endpoint, parse_uri(way.target), way.peer, local, codecs, order.caller, way.keying, way.credentials,
            way.sender, way.asserted, way.required,
        )  # fmt: skip
        alive = asyncio.Event()

        def progress(code: int) -> None:
            alive.set()
            if code == RINGING:
                rings()

        call.on_progress = progress
        self._endpoint.keep(call)
        self._endpoint.counters["dialled"] += 1
        made(call)
        call.begin()
        try:
            await self._alive(call, alive)
            return await asyncio.shield(call.outcome)
        except (asyncio.CancelledError, CallFailed):
            call.abandon()
            if call.outcome.done() and not call.outcome.cancelled() and call.outcome.exception() is None:
                call.hangup()
            raise

    async def _alive(self, call: OutgoingCall, alive: asyncio.Event) -> None:
        """Wait for the first sign of that server, but not for the 64 * T1 of a transaction. Raises CallFailed."""
        sign = asyncio.ensure_future(alive.wait())
        try:
            seconds = PATIENCE * self._endpoint.layer.timing.t1
            waiting: list[asyncio.Future[Any]] = [sign, call.outcome]
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sign.cancel()
        if not (call.outcome.done() or alive.is_set()):
            raise CallFailed(408, "silent")


def by_trunk(trunk: Trunk, peer: Peer, order: Order) -> Way:
    """By that trunk's server, in the practice's name. Encrypted, unless somebody accepted that risk on record; then it is still
    offered where the keys cannot be read on their way."""
    host = trunk.domain or host_port(trunk.proxy)[0]
    host = f"[{host}]" if ":" in host else host
    credentials = None
    if trunk.ha1:
        known = Credentials(trunk.user, trunk.realm, trunk.ha1)
        credentials = lambda realm: known  # noqa: E731
    return Way(
        peer,
        f"sip:{order.to}@{host}",
        f"sip:{quote(order.caller, safe='+')}@{host}",
        asserted=True,
        keying=Keying.SDES if peer.transport == "tls" else Keying.NONE,
        required=not trunk.plain,
        credentials=credentials,
        trunk=trunk.id,
    )
