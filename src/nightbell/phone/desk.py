"""Calls to and from staff, and to patients at a clinician's wish: the worker says what is done, the phone does it.

They live in the process that speaks SIP, with sound and ports of their own: none of them takes a caller's place, whether
callers are here or in engines. What they hear is not recorded, and no key of theirs is logged. The one exception is a call
back whose patient has agreed: `join` then names its capture (phone.tape).

down: {"command": "place_call", "data": {"call", "to", "caller", "trunk", "practice", "language", "ring_s", "max_s"}},
      "say" {"call", "token", "clips": ["en/alert-hello", "~200"], "barge_in"}, "sound" {"call", "token", "ulaw": base64, "last",
      "barge_in"}, "hush" {"call"}, "join" {"a", "b", "record": a capture's ULID, or absent}, "part" {"a", "b"},
      "hang_up" {"call"}.
      What is said comes after what is being said; a key cuts what has barge_in (sound has it unless told otherwise).
up:   {"event": "leg", "call", "state", "code", "why", "encrypted"}; state "incoming" has "dialled", "caller" and "practice" too,
      "ended" has "heard": packets of sound that came,
      "key" {"call", "key"}, "said" {"call", "token"} (all of it was heard), "joined" {"a", "b"}, "parted" {"a", "b"},
      "capture_ready" {"capture"}.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError
from nightbell.core.ids import is_ulid, new_ulid
from nightbell.core.log import Log
from nightbell.phone import wav
from nightbell.phone.bridge import CODECS, Bridge, law_of
from nightbell.phone.dtls import identity
from nightbell.phone.endpoint import Endpoint
from nightbell.phone.media import Media, NoPort
from nightbell.phone.outbound import Dialler, NotPlaced, Order, read_order
from nightbell.phone.recorder import Recorder
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.sip_dial import OutgoingCall
from nightbell.phone.snapshot import Holder
from nightbell.phone.staff import NOBODY, StaffLeg
from nightbell.phone.tape import Tapes
from nightbell.phone.transport import Peer
from nightbell.phone.voice import Voice

WORKER_S = 3.0  # how long somebody who rings the staff line waits for the worker's first word
GONE_S = 10.0  # how long legs wait for a worker that is gone
LOOK_S = 0.25
LONGEST_IN_S = 1_800.0  # of a call to the staff line
REMEMBERED = 1_000  # calls that are over, so that their order again is no new call
MOST_SOUND = 90_000  # characters of one order's sound
APOLOGY = ("staff-hello", "sorry", "try-again")

Data = Mapping[str, Any]


class Desk:
    """All legs. Made inside the running event loop; `start` once the process is locked in."""

    def __init__(
        self,
        endpoint: Endpoint,
        media: Media,
        holder: Holder,
        dialler: Dialler,
        clips: Path,
        tell: Callable[..., None],
        connected: Callable[[], bool],
        log: Log,
        recorder: Recorder | None = None,
    ) -> None:
        """media: of these legs alone; clips: practices' own recordings; tell: (event, fields) for the worker; connected: whether it is
        there; recorder: not started yet, of these legs alone; without one nothing can be recorded."""
        self.tell = tell
        self.legs: dict[str, StaffLeg] = {}
        self.empty = asyncio.Event()
        self.empty.set()
        self._endpoint, self._media, self._holder, self._dialler = endpoint, media, holder, dialler
        self._clips, self._connected, self._log = clips, connected, log
        self._tapes = Tapes(recorder, lambda: holder.current, tell, self._tell_empty, log)
        self._past: OrderedDict[str, dict[str, object]] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, list[asyncio.TimerHandle]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._alone_since: float | None = None
        self._closed = False
        self.orders: dict[str, Callable[[Data], None]] = {
            "place_call": self._place, "say": self._say, "sound": self._sound, "hush": self._hush,
            "join": self._join, "part": self._part, "hang_up": self._hang_up,
        }  # fmt: skip

    def start(self) -> None:
        self._media.start()
        self._watch = asyncio.get_running_loop().create_task(self._look())

    def close(self) -> None:
        """End what is left and give back the ports."""
        self.end_all()
        if self._watch is not None:
            self._watch.cancel()
        self._media.close()
        self._tapes.close()

    def drain(self) -> None:
        """Take and place no more."""
        self._closed = True

    def end_all(self) -> None:
        self._closed = True
        for leg in list(self.legs.values()):
            self.over(leg, "ended", 503)

    # From a telephone.

    def take(self, call: IncomingCall) -> None:
        """Somebody rings a staff number. Who it is, the worker finds out."""
        own = [one for one in call.remote.codecs if one[1] in CODECS]
        taken = sum(leg.incoming for leg in self.legs.values())
        if self._closed or taken >= self._holder.current.limits.legs or not own:
            call.reject(503 if own else 488)
            return
        codec = min((one[1] for one in own), key=CODECS.index)
        leg = StaffLeg(new_ulid(), self._holder.current.number(call.dialled).practice, self, incoming=True)
        self._keep(leg)
        try:
            self._answer(leg, call, codec)
        except Exception as error:
            self._log.failure("leg_not_answered", error)
            self._forget(leg)
            call.reject(503 if isinstance(error, NoPort) else 500)
            leg.hang_up()

    def _answer(self, leg: StaffLeg, call: IncomingCall, codec: Codec) -> None:
        local = self._open(leg, call.peer)
        leg.tie(call, codec)
        call.on_confirmed = leg.there
        if not leg.agree(call.remote):
            raise ValueError("its codec has no number")
        call.answer(local, codec, identity().fingerprint)
        leg.up = True
        self._later(leg, WORKER_S, lambda: self._apologise(leg))
        self._later(leg, LONGEST_IN_S, lambda: self.over(leg, "ended"))
        self._state(leg, "incoming", dialled=call.dialled, caller=call.caller, practice=leg.practice)

    def _apologise(self, leg: StaffLeg) -> None:
        """No word of the worker: nobody is left in silence."""
        if leg.obeyed or leg.id not in self.legs:
            return
        self._log("staff_call_without_worker", practice=leg.practice or "none")
        language = next(iter(self._holder.current.line_of(leg.practice).plan.languages), "en")
        leg.finish(self._frames(leg, [f"{language}/{clip}" for clip in APOLOGY]))

    # From the worker.

    def order(self, name: str, data: object) -> None:
        """One command. What cannot be obeyed any more is passed over: the events have told, or tell, why."""
        if not isinstance(data, Mapping):
            self._log("leg_order_malformed", kind=name)
            return
        try:
            self.orders[name](data)
        except (NightbellError, ValueError, TypeError) as error:
            self._log.failure("leg_order_refused", error)

    def _place(self, data: Data) -> None:
        call = str(data.get("call", ""))
        if call in self.legs or call in self._past:  # the same order again is the same call
            self.tell("leg", **(self.legs[call].event if call in self.legs else self._past[call]))
            return
        if not is_ulid(call):
            raise ValueError("a call has no id")
        leg = StaffLeg(call, str(data.get("practice", "")), self)
        self._keep(leg)
        try:
            order = read_order(data)
            placed = sum(not one.incoming for one in self.legs.values())
            if self._closed or placed > self._holder.current.limits.legs:
                raise NotPlaced("unreachable", 503)
        except NotPlaced as refused:
            self.over(leg, refused.why, refused.code)
            return
        self._state(leg, "trying")
        task = asyncio.get_running_loop().create_task(self._dial(leg, order))
        self._tasks[call] = task

    async def _dial(self, leg: StaffLeg, order: Order) -> None:
        try:
            call = await self._dialler.dial(
                order, self._preferred(leg), lambda peer: self._open(leg, peer), lambda call: None,
                lambda: self._rings(leg),
            )  # fmt: skip
        except NotPlaced as failed:
            self.over(leg, failed.why, failed.code)
            return
        except NoPort as error:
            self._log.failure("leg_without_media", error)
            self.over(leg, "unreachable", 503)
            return
        except Exception as error:  # whatever it is, the worker must not wait for ever
            self._log.failure("leg_not_placed", error)
            self.over(leg, "unreachable", 500)
            return
        finally:
            self._tasks.pop(leg.id, None)
        if leg.id in self.legs:
            self._answered(leg, order, call)
        else:
            call.hangup()

    def _rings(self, leg: StaffLeg) -> None:
        if leg.id in self.legs and leg.event.get("state") != "ringing":
            self._state(leg, "ringing", code=180)

    def _answered(self, leg: StaffLeg, order: Order, call: OutgoingCall) -> None:
        leg.tie(call, call.codec)
        if call.codec not in CODECS or not leg.agree(call.remote):
            self.over(leg, "unreachable", 488)
            return
        if call.ended:
            self.over(leg, "hung_up")
            return
        leg.there()
        self._later(leg, order.max_s, lambda: self.over(leg, "ended"))
        self._state(leg, "answered", code=200)

    def _preferred(self, leg: StaffLeg) -> tuple[Codec, ...]:
        """First the codec of whoever of this practice is here already: the two may be joined."""
        others = [one.codec for one in self.legs.values() if one.up and one.practice == leg.practice]
        return tuple(dict.fromkeys([*others[-1:], *CODECS]))

    def _say(self, data: Data) -> None:
        leg, clips = self._leg(data), data.get("clips")
        if leg is None or not isinstance(clips, list):
            return
        token, barge_in = int(data.get("token", 0)), data.get("barge_in") is not False
        self._tell_full(leg.say(token, self._frames(leg, [str(one) for one in clips]), barge_in))

    def _sound(self, data: Data) -> None:
        leg, text = self._leg(data), data.get("ulaw")
        if leg is None or not isinstance(text, str) or len(text) > MOST_SOUND:
            return
        ulaw = base64.b64decode(text, validate=True)
        frames = wav.frames(wav.from_law(ulaw, Codec.PCMU, leg.codec), leg.codec)
        token, barge_in = int(data.get("token", 0)), data.get("barge_in") is not False
        self._tell_full(leg.say(token, frames, barge_in, data.get("last") is True))

    def _tell_full(self, taken: bool) -> None:
        if not taken:
            self._log("leg_says_too_much")

    def _hush(self, data: Data) -> None:
        leg = self._leg(data)
        if leg is not None:
            leg.hush()

    def _join(self, data: Data) -> None:
        a, b = (self.legs.get(str(data.get(name))) for name in ("a", "b"))
        both = {"a": str(data.get("a")), "b": str(data.get("b"))}
        for leg in (a, b):
            if leg is not None:
                leg.obeyed = True
        if a is None or b is None or a is b or not (a.up and b.up):
            self.tell("parted", **both)
        elif a.partner is b:
            self.tell("joined", **both)
        elif a.partner is not None or b.partner is not None or a.session is None or b.session is None:
            self.tell("parted", **both)
        else:
            a.partner, b.partner = b, a
            tape = self._tapes.begin(data.get("record"), a.practice, law_of(a.codec, b.codec))
            a.bridge = b.bridge = Bridge((a.session, a.codec), (b.session, b.codec), tape)
            self.tell("joined", **both)

    def _part(self, data: Data) -> None:
        a, b = (self.legs.get(str(data.get(name))) for name in ("a", "b"))
        if a is not None and b is not None and a.partner is b:
            self._split(a)
        else:
            self.tell("parted", a=str(data.get("a")), b=str(data.get("b")))

    def _split(self, leg: StaffLeg) -> None:
        other, bridge = leg.partner, leg.bridge
        if other is None or bridge is None:
            return
        bridge.end()
        leg.partner = other.partner = leg.bridge = other.bridge = None
        self.tell("parted", a=leg.id, b=other.id)

    def _hang_up(self, data: Data) -> None:
        leg = self._leg(data)
        if leg is not None:
            self.over(leg, "ended")

    def _leg(self, data: Data) -> StaffLeg | None:
        leg = self.legs.get(str(data.get("call")))
        if leg is not None:
            leg.obeyed = True
        return leg

    # The legs.

    def over(self, leg: StaffLeg, why: str, code: int = 0) -> None:
        """It has ended, or ends now. Whoever was joined with it is alone again, and hears clips."""
        if self.legs.get(leg.id) is not leg:
            return
        task = self._tasks.pop(leg.id, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._forget(leg)
        self._state(leg, "ended", code=code, why=why, heard=leg.heard)
        self._past[leg.id] = leg.event
        while len(self._past) > REMEMBERED:
            self._past.popitem(last=False)
        self._split(leg)
        cause = code if why in ("lost", "ended") and code >= 300 else 0
        leg.hang_up(cause, "the line ends the call" if cause else "")

    def _state(self, leg: StaffLeg, state: str, code: int = 0, why: str = "", **more: object) -> None:
        leg.event = {
            "call": leg.id, "state": state, "code": code, "why": why, "encrypted": leg.encrypted, **more
        }  # fmt: skip
        self._log("leg", reference=leg.id, state=state, code=code, reason=why or "none")
        self.tell("leg", **leg.event)

    def _keep(self, leg: StaffLeg) -> None:
        self.legs[leg.id] = leg
        self.empty.clear()

    def _forget(self, leg: StaffLeg) -> None:
        self.legs.pop(leg.id, None)
        for timer in self._timers.pop(leg.id, ()):
            timer.cancel()
        self._tell_empty()

    def _tell_empty(self) -> None:
        if not self.legs and not self._tapes.waiting:
            self.empty.set()

    @property
    def open_captures(self) -> int:
        return self._tapes.open_captures

    @property
    def captures(self) -> dict[str, int]:
        """What happened to them, as recorder.Counters."""
        return self._tapes.counts

    def _open(self, leg: StaffLeg, peer: Peer) -> tuple[str, int]:
        """A socket for its sound, of the family in which that peer is reached. Raises NoPort."""
        transport = self._endpoint.layer.transport
        if leg.session is not None:
            leg.session.close()
        session = self._media.open(NOBODY, leg, transport.bind_of(peer))
        leg.sound(session)
        return transport.local_address(peer), session.local[1]

    def _frames(self, leg: StaffLeg, clips: list[str]) -> list[bytes]:
        """What cannot be found is left out: the rest must be heard."""
        voice = Voice(self._clips, self._holder.current.line_of(leg.practice).plan.clips)
        found: list[bytes] = []
        for clip in clips:
            if clip.startswith("~") and len(clip) > 6:  # over a minute and a half
                continue
            try:
                found += voice.frames((clip,), leg.codec)
            except (NightbellError, ValueError) as error:
                self._log.failure("clip_missing", error)
        return found

    def _later(self, leg: StaffLeg, seconds: float, act: Callable[[], None]) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, act)
        self._timers.setdefault(leg.id, []).append(timer)

    async def _look(self) -> None:
        """Without a worker nobody drives a leg. Two who speak with each other need none."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._look_once(clock.monotonic())
            except Exception as error:  # one look that failed must not be the last
                self._log.failure("legs_not_watched", error)

    def _look_once(self, now: float) -> None:
        self._media.send_silence = self._holder.current.limits.send_silence
        if self._connected():
            self._alone_since = None
            return
        if self._alone_since is None:
            self._alone_since = now
        if now - self._alone_since >= GONE_S:
            for leg in [one for one in self.legs.values() if one.partner is None]:
                self.over(leg, "lost", 503)
