"""One call to or from somebody of the practice, or to a patient at a clinician's wish: what it says, and its sound.

It plays what the worker wants to be heard and tells each key. Nothing that it hears is recorded or kept.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nightbell.core.capture import Codec
from nightbell.phone.bridge import Bridge
from nightbell.phone.securing import Securing, peer_of
from nightbell.phone.session import Peer, Session
from nightbell.phone.sip_call import Call
from nightbell.sip.sdp import AudioOffer

MOST_FRAMES = 30_000  # that wait to be heard: ten minutes
# Before the other side has answered: nothing is believed, and nothing is sent.
NOBODY = Peer(("127.0.0.1", 9), Codec.PCMU, 0, None, mute=True, secured=True)


@dataclass(slots=True)
class Utterance:
    """What is said under one token. waiting: frames that were not given to the session yet; whole: no more will come."""

    token: int
    barge_in: bool
    waiting: list[bytes] = field(default_factory=list)
    whole: bool = False


class Mouth:
    """What a leg says, one thing after another. `said(token)` follows when all of it was heard; not for what was cut."""

    def __init__(self, session: Session, said: Callable[[int], None]) -> None:
        self._session, self._said = session, said
        self._queue: deque[Utterance] = deque()
        self._numbers = itertools.count(1)
        self._playing = 0  # our number of what the session plays, 0 for nothing

    def add(self, token: int, frames: Sequence[bytes], barge_in: bool, whole: bool) -> bool:
        """Say this after all that is to be said, or after the rest of the same token. False: too much waits already."""
        if sum(len(one.waiting) for one in self._queue) + len(frames) > MOST_FRAMES:
            return False
        last = self._queue[-1] if self._queue else None
        if last is None or last.token != token or last.whole:
            last = Utterance(token, barge_in)
            self._queue.append(last)
        last.waiting += frames
        last.whole = whole
        self._go_on()
        return True

    def hush(self) -> None:
        """Say nothing of it any more."""
        self._queue.clear()
        self._stop()

    def key(self) -> None:
        """A key cuts what may be cut; what may not is heard to its end."""
        cut = bool(self._queue) and self._queue[0].barge_in
        self._queue = deque(one for one in self._queue if not one.barge_in)
        if cut:
            self._stop()
        self._go_on()

    def played(self, number: int) -> None:
        """The session has come to an end of what it was given."""
        if number != self._playing:
            return
        self._playing = 0
        self._go_on()

    def _stop(self) -> None:
        self._playing = 0
        self._session.stop()

    def _go_on(self) -> None:
        while self._queue:
            first = self._queue[0]
            if self._playing:
                if first.waiting and self._session.extend(first.waiting, self._playing):
                    first.waiting = []
                return
            if first.waiting:
                frames, first.waiting = first.waiting, []
                self._playing = next(self._numbers)
                self._session.play(frames, self._playing)
                return
            if not first.whole:
                return
            self._queue.popleft()
            self._said(first.token)


class Owner(Protocol):
    """What a leg tells."""

    def tell(self, event: str, **fields: object) -> None: ...

    def over(self, leg: StaffLeg, why: str, code: int = 0) -> None: ...


class StaffLeg:
    """A leg with its sound; everything in the event loop. id: the call's; practice: whose clips are heard."""

    def __init__(self, id: str, practice: str, owner: Owner, incoming: bool = False) -> None:
        self.id, self.practice, self.incoming = id, practice, incoming
        self.up = False  # it can be spoken with
        self.obeyed = False  # the worker has said something to it
        self.event: dict[str, object] = {}  # the last that was told of it
        self.partner: StaffLeg | None = None
        self.bridge: Bridge | None = None
        self.codec = Codec.PCMU
        self.session: Session | None = None
        self.mouth: Mouth | None = None
        self._owner = owner
        self._call: Call | None = None
        self._securing: Securing | None = None
        self._finishing = False

    def sound(self, session: Session) -> None:
        """It has a socket."""
        self.session = session
        self.mouth = Mouth(session, self._told_said)

    def tie(self, call: Call, codec: Codec) -> None:
        """This is its SIP side, agreed on or about to be."""
        session = self.session
        if session is None:
            return
        self._call, self.codec = call, codec
        call.on_end, call.on_media = self._ended, self._moved
        call.received = lambda: session.counters.received
        call.heard = lambda: session.counters.received >= 50
        self._securing = Securing(session, self._without_keys)

    def agree(self, offer: AudioOffer) -> bool:
        """Speak with that description. False: it has no codec of ours."""
        call, session = self._call, self.session
        if call is None or session is None or self._securing is None:
            return False
        peer = peer_of(offer, self.codec, call.security)
        if peer is None:
            return False
        session.retarget(peer)
        self._securing.agree(call.security, peer.address)
        return True

    def there(self) -> None:
        """Somebody is there: speak."""
        self.up = True
        if self.session is not None and self._securing is not None:
            self.session.confirm()
            self._securing.there()

    @property
    def encrypted(self) -> bool:
        return self._call is not None and self._call.security.secured

    @property
    def heard(self) -> int:
        """Packets of sound that came."""
        return self.session.counters.received if self.session is not None else 0

    # What is said.

    def say(self, token: int, frames: Sequence[bytes], barge_in: bool, whole: bool = True) -> bool:
        return (
            self.mouth is not None and not self._finishing and self.mouth.add(token, frames, barge_in, whole)
        )

    def hush(self) -> None:
        if self.mouth is not None and not self._finishing:
            self.mouth.hush()

    def finish(self, frames: Sequence[bytes]) -> None:
        """Say this to its end, then hang up. What the worker says from now on is too late."""
        self._finishing = True
        if self.mouth is not None:
            self.mouth.hush()
            self.mouth.add(0, frames, False, True)

    def hang_up(self, cause: int = 0, text: str = "") -> None:
        """End its SIP side and its sound. Idempotent; the owner knows why."""
        call, session, securing = self._call, self.session, self._securing
        self._call = self.session = self._securing = self.mouth = None
        self.up = False
        if securing is not None:
            securing.close()
        if session is not None:
            session.close()
        if call is not None:
            call.on_end = call.on_media = call.heard = call.received = None
            call.hangup(cause, text)

    # What happens: its session's listener, its call's.

    def digit(self, key: str, at: float) -> None:
        if self.mouth is None:
            return
        self._owner.tell("key", call=self.id, key=key)
        if not self._finishing:
            self.mouth.key()

    def played(self, token: int) -> None:
        if self.mouth is not None:
            self.mouth.played(token)

    def sounded(self) -> None:
        """Sound came before the ACK of an incoming call."""
        sounded = getattr(self._call, "sounded", None)
        if sounded is not None:
            sounded()

    def _told_said(self, token: int) -> None:
        if self._finishing:
            self._owner.over(self, "ended")
        else:
            self._owner.tell("said", call=self.id, token=token)

    def _moved(self, offer: AudioOffer) -> None:
        self.agree(offer)

    def _without_keys(self, _why: str, keyed: bool) -> None:
        if not keyed:
            self._owner.over(self, "lost", 488)

    def _ended(self, reason: str) -> None:
        self._owner.over(self, "lost" if reason == "timeout" else "hung_up")
