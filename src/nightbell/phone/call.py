"""One incoming call: feeds the pure flow with what happens, and does what it says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from nightbell.core import clock
from nightbell.core.capture import CaptureMeta, Codec, Digit, End, EndReason, Mark
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.phone import flow
from nightbell.phone import flow_model as model
from nightbell.phone.media import Media, NoPort
from nightbell.phone.prompts import Voice
from nightbell.phone.recorder import CannotRecord, Recorder, Recording
from nightbell.phone.session import Peer, Session
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.snapshot import Number, Snapshot
from nightbell.sip.sdp import AudioOffer

LONGEST_BESIDE_MESSAGE = 900.0  # seconds: whoever listens to the menu for ever is ended like a drained call


@dataclass(slots=True)
class House:
    """What all calls share. told: (event, capture id) for the control channel; over: a call is gone;
    local_address: our own address as that caller sees it; never_confirmed: such calls by what became of them."""

    media: Media
    recorder: Recorder
    clips: Callable[[Number], Voice]
    log: Log
    told: Callable[[str, str], None]
    over: Callable[[Call], None]
    local_address: Callable[[IncomingCall], str]
    never_confirmed: Counter[str] = field(default_factory=Counter)


def peer_of(offer: AudioOffer, codec: Codec) -> Peer | None:
    """The other side's sound, None when it does not have `codec`."""
    number = offer.payload_type(codec)
    if number is None:
        return None
    return Peer(offer.remote, codec, number, offer.dtmf_type, mute=offer.held)


class Call:
    """From INVITE to the end of the capture. Everything here runs in the event loop."""

    def __init__(self, leg: IncomingCall, house: House, snapshot: Snapshot) -> None:
        self.capture = new_ulid()
        self._leg, self._house, self._snapshot = leg, house, snapshot
        self._number = snapshot.number(leg.dialled)
        self._flow = self._number.flow()
        self._voice = house.clips(self._number)
        self._codec = leg.remote.codecs[0][1]
        self._state = model.State()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._longest: asyncio.TimerHandle | None = None
        self._session: Session | None = None
        self._recording: Recording | None = None
        self._answered = clock.monotonic()
        self._up = False

    @property
    def stage(self) -> model.Stage:
        return self._state.stage

    def start(self) -> None:
        """Answer. No port left: 503, so that the carrier tries elsewhere. Raises what went wrong otherwise."""
        try:
            self._answer()
        except Exception:
            self._give_up()
            raise

    def _answer(self) -> None:
        peer = peer_of(self._leg.remote, self._codec)
        try:
            if peer is None:
                raise NoPort("a call's sound", "its first codec has no number")
            self._session = self._house.media.open(peer, self)
        except NoPort as error:
            self._house.log.failure("call_without_media", error)
            self._leg.reject(503)
            self._house.over(self)
            return
        self._leg.on_end = self._ended
        self._leg.on_media = self._moved
        self._leg.heard = self._speaks
        self._leg.on_confirmed = self._session.confirm
        self._answered = clock.monotonic()
        self._recording = self._open_recording()
        port = self._session.local[1]
        self._leg.answer((self._house.local_address(self._leg), port), self._codec)
        self._up = True
        self._house.told("call_started", self.capture)
        longest = LONGEST_BESIDE_MESSAGE + self._number.max_seconds
        self._longest = self._loop.call_later(longest, self.drain)
        self._feed(model.Answered(self._recording is not None))

    def drain(self) -> None:
        """End now, keeping what there is."""
        self._feed(model.Drain())
        if self._session is not None and not self._session.confirmed:
            self._feed(model.HungUp())  # nothing is played to it, so nothing would come to its end

    # What happens, from the media engine, SIP and the recorder.

    def digit(self, key: str, at: float) -> None:
        if self._recording is not None:
            self._recording.note(Digit(max(0, self._ms(at)), key))
        self._feed(model.Key(key))

    def played(self, token: int) -> None:
        self._feed(model.Played(token))

    def sounded(self) -> None:
        self._leg.sounded()

    def _ended(self, reason: str) -> None:
        self._up = False
        if reason == "timeout" and self._session is not None and not self._session.confirmed:
            self._never_confirmed()
        self._feed(model.HungUp())

    def _never_confirmed(self) -> None:
        """No ACK, no sound, no key: a scanner, or a patient whom our network does not hear.

        A call to a practice's number becomes a missed call all the same: behind a wrongly set firewall every
        patient looks like this. To a number of nobody's it is a scanner's, and only counted.
        """
        nobody = not self._number.mailbox
        if nobody and self._recording is not None:
            self._recording.unwanted = True
        outcome = "dropped" if nobody else "missed"
        self._house.never_confirmed[outcome] += 1
        self._house.log("call_never_confirmed", capture=self.capture, outcome=outcome)

    def _speaks(self) -> bool:
        """Whether sound came for a second or more: then a lost ACK is no reason to hang up on a patient."""
        return self._session is not None and self._session.counters.received >= 50

    def _moved(self, offer: AudioOffer) -> None:
        peer = peer_of(offer, self._codec)
        if peer is not None and self._session is not None:
            self._session.retarget(peer)

    def _tick(self) -> None:
        self._timer = None
        voice = self._session.voice_at if self._session is not None else None
        self._feed(model.Tick(None if voice is None else self._ms(voice)))

    def _stored(self, durable: bool) -> None:
        if durable and not (self._recording is not None and self._recording.unwanted):
            self._house.told("capture_ready", self.capture)
        self._feed(model.Saved() if durable else model.Failed())

    def _failed(self) -> None:
        if self._session is not None:
            self._session.stop_recording()
        self._feed(model.Failed())

    # The flow.

    def _ms(self, moment: float) -> int:
        return int((moment - self._answered) * 1000)

    def _feed(self, event: model.Event) -> None:
        try:
            now = self._ms(clock.monotonic())
            self._state, actions = flow.step(self._flow, self._state, event, now)
            for action in actions:
                self._do(action, now)
            self._set_timer(now)
        except Exception as error:  # whatever went wrong, what was said is kept
            self._house.log.failure("call_broken", error, capture=self.capture)
            self._give_up()

    def _set_timer(self, now: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._state.wake is not None:
            self._timer = self._loop.call_later(max(0, self._state.wake - now) / 1000, self._tick)

    def _do(self, action: model.Action, now: int) -> None:
        session, recording = self._session, self._recording
        if isinstance(action, model.HangUp):
            self._hang_up()
        elif session is None:
            return
        elif isinstance(action, model.Play):
            session.play(self._voice.frames(action.run.clips, self._codec), action.token)
        elif isinstance(action, model.StopPlay):
            session.stop()
        elif recording is None:
            return
        elif isinstance(action, model.Note):
            recording.note(Mark(now, action.name))
        elif isinstance(action, model.Record):
            recording.note(Mark(now, "recording"))
            session.record(recording.audio)
        elif isinstance(action, model.Save):
            self._finish(action.reason)

    def _open_recording(self) -> Recording | None:
        meta = CaptureMeta(
            capture=self.capture,
            practice=self._number.practice,
            mailbox=self._number.mailbox,
            dialled=self._leg.dialled,
            caller=self._leg.caller,
            answered_at=clock.iso(clock.utc_now()),
            language=self._number.line.language,
            codec=self._codec,
            snapshot=self._snapshot.version,
        )
        try:
            return self._house.recorder.open(meta, self._snapshot.epoch, self._later(self._failed))
        except CannotRecord:
            return None  # the recorder has logged and counted it; the caller hears `trouble`

    def _later(self, act: Callable[..., None]) -> Callable[..., None]:
        """For other threads: `act` in the event loop, if that still runs."""

        def post(*values: object) -> None:
            try:
                self._loop.call_soon_threadsafe(act, *values)
            except RuntimeError:
                return

        return post

    def _finish(self, reason: EndReason) -> None:
        recording, session = self._recording, self._session
        if recording is None or session is None:
            self._feed(model.Failed())
            return
        end = End(max(0, self._ms(clock.monotonic())), reason)

        def write() -> None:
            recording.finish(end, self._later(self._stored))
            self._house.recorder.wake()

        session.stop_recording(write)

    def _hang_up(self) -> None:
        for timer in (self._timer, self._longest):
            if timer is not None:
                timer.cancel()
        if self._recording is not None and self._recording.ending is None:
            self._finish(EndReason.INTERRUPTED)
        if self._up:
            self._up = False
            self._leg.hangup()
        if self._session is not None:
            self._session.close()
            self._session = None
            self._house.told("call_ended", self.capture)
        self._house.over(self)

    def _give_up(self) -> None:
        self._state = model.State(stage=model.Stage.DONE)
        try:
            self._hang_up()
        except Exception as error:
            self._house.log.failure("call_not_ended", error, capture=self.capture)
