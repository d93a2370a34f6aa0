"""One incoming call: feeds the pure flow with what happens, and does what it says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from nightbell.core import clock
from nightbell.core.capture import CaptureMeta, Digit, End, EndReason, Mark
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.flow import machine, model
from nightbell.flow.line import Line
from nightbell.flow.turn import Phase
from nightbell.phone.dtls import identity
from nightbell.phone.legs import Leg, let_go
from nightbell.phone.media import Media, NoPort
from nightbell.phone.memory import Memory
from nightbell.phone.recorder import CannotRecord, Recorder, Recording
from nightbell.phone.securing import Securing, peer_of
from nightbell.phone.session import Packets, Session
from nightbell.phone.snapshot import UNROUTED, Number, Snapshot, plain
from nightbell.phone.take import Budget, Take
from nightbell.phone.voice import Voice
from nightbell.sip.sdp import AudioOffer

TEAM_FRESH = 60.0  # seconds since the worker was heard
LONGEST_BESIDE_MESSAGE = 1500.0  # seconds: whoever listens to the menu for ever is ended like a drained call


@dataclass(slots=True)
class House:
    """What all calls share. told: (event, fields) for the control channel; over: a call is gone; now_in_force: the
    snapshot of this moment and its age in seconds; local_address: our own address as that caller sees it;
    never_confirmed: such calls by what became of them."""

    media: Media
    recorder: Recorder
    clips: Callable[[Number], Voice]
    log: Log
    told: Callable[..., None]
    over: Callable[[Call], None]
    now_in_force: Callable[[], tuple[Snapshot, float]]
    local_address: Callable[[Leg], str]
    memory: Memory = field(default_factory=Memory)
    takes: Budget = field(default_factory=Budget)
    never_confirmed: Counter[str] = field(default_factory=Counter)


class Call:
    """From INVITE to the end of the capture. Everything here runs in the event loop."""

    def __init__(self, leg: Leg, house: House, snapshot: Snapshot, busy: bool = False) -> None:
        """busy: the system is full, this call gets the short form."""
        self.capture = new_ulid()
        self._leg, self._house, self._snapshot = leg, house, snapshot
        self._number = snapshot.number(leg.dialled)
        self._voice = house.clips(self._number)
        self._codec = leg.remote.codecs[0][1]
        self._config = self._rules(busy)
        self._state = model.State()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._longest: asyncio.TimerHandle | None = None
        self._session: Session | None = None
        self._securing: Securing | None = None
        self._recording: Recording | None = None
        self._take: Take | None = None
        self._answered = clock.monotonic()
        self._up = self._began = False
        self._why = (0, "")  # what the BYE says, a status and words

    def _rules(self, busy: bool) -> model.CallConfig:
        caller, now = machine.callable_number(self._leg.caller), clock.utc_now()
        before = self._house.memory.recall(self._number.practice, self._leg.caller, clock.monotonic())
        try:
            return self._line().config(caller, now, before.language, before.slow, busy)
        except Exception as error:  # whatever is wrong with a flow, whoever calls can leave a message
            self._house.log.failure("flow_broken", error, capture=self.capture)
            return UNROUTED.line.config(caller, now, busy=busy)

    @property
    def node(self) -> str:
        return self._state.node

    @property
    def phase(self) -> Phase:
        return Phase(self._state.phase)

    def start(self) -> None:
        """Answer. No port left: 503, so that the carrier tries elsewhere. Raises what went wrong otherwise."""
        try:
            self._answer()
        except Exception:
            self._give_up()
            raise

    def _answer(self) -> None:
        peer = peer_of(self._leg.remote, self._codec, self._leg.security)
        try:
            if peer is None:
                raise NoPort("a call's sound", "its first codec has no number")
            self._session = self._house.media.open(peer, self, self._leg.peer.local)
        except NoPort as error:
            self._house.log.failure("call_without_media", error)
            self._leg.reject(503)
            self._house.over(self)
            return
        self._leg.on_end, self._leg.on_media = self._ended, self._moved
        self._leg.heard = self._speaks
        self._leg.received = self._session.signs
        self._leg.on_confirmed = self._confirmed
        self._securing = Securing(self._session, self._without_keys)
        self._securing.agree(self._leg.security, peer.address)
        self._answered = clock.monotonic()
        local = self._house.local_address(self._leg), self._session.local[1]
        quick = self._house.recorder.quick
        if not quick:  # while the disk is waited for, another engine can still have the call
            self._recording = self._open_recording()
        try:
            self._leg.answer(local, self._codec, identity().fingerprint)
            self._up = True
        finally:  # no caller waits for a quick disk, and a call that could not be answered leaves its trace too
            if quick:
                self._recording = self._open_recording()
        self._house.told("call_started", capture=self.capture)
        longest = LONGEST_BESIDE_MESSAGE + self._number.line.plan.max_seconds
        self._longest = self._loop.call_later(longest, self.drain)
        if self._recording is not None:
            trial = (self._trial(),) if self._number.line.test else ()
            for mark in (*trial, *self._leg.marks):
                self._recording.note(Mark(0, mark))
        self._feed(model.Answered(self._recording is not None))

    def _trial(self) -> str:
        """The mark of a call that is no patient's."""
        return f"studio:{plain(self._leg.dialled)}" if self._number.line.studio else "test"

    def drain(self) -> None:
        """End now, keeping what there is."""
        self._why = (503, "the line ends the call")
        self._tick()  # whether somebody is speaking decides what may be said
        self._feed(model.Drain())
        if self._session is not None and not self._session.confirmed:
            self._feed(model.HungUp())  # nothing is played to it, so nothing would come to its end

    # What happens, from the media engine, SIP, the recorder and the worker.

    def digit(self, key: str, at: float) -> None:
        if self._recording is not None:
            self._recording.note(Digit(max(0, self._ms(at)), key))
        self._feed(model.Key(key))

    def played(self, token: int) -> None:
        self._feed(model.Played(token))

    def sounded(self) -> None:
        self._leg.sounded()

    def told(self, event: model.Told | model.Taken) -> None:  # the worker's answer
        self._feed(event)

    def _confirmed(self) -> None:
        if self._session is not None and self._securing is not None:
            self._session.confirm()
            self._securing.there()

    def _without_keys(self, why: str, keyed: bool) -> None:
        """No key, so no sound: as a call that we never heard, also in the inbox. With older keys the call goes on."""
        self._house.never_confirmed[f"dtls_again_{why}" if keyed else f"dtls_{why}"] += 1
        if not keyed:
            self._why = (488, "no keys for the sound")
            if not self._packets():
                self._never_confirmed()
            self._feed(model.HungUp())

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
        """Whether a second of sound came: then a lost ACK is no reason to hang up on a patient."""
        return self._packets() >= 50

    def _packets(self) -> int:
        return 0 if self._session is None else self._session.counters.received

    def _moved(self, offer: AudioOffer) -> None:
        peer = peer_of(offer, self._codec, self._leg.security)
        if peer is not None and self._session is not None and self._securing is not None:
            self._session.retarget(peer)
            self._securing.agree(self._leg.security, peer.address)

    def _tick(self) -> None:
        self._timer = None
        voice = self._session.voice_at if self._session is not None else None
        self._feed(model.Tick(None if voice is None else self._ms(voice)))

    def _stored(self, durable: bool, promise: model.Promise) -> None:
        if durable and not (self._recording is not None and self._recording.unwanted):
            self._house.told("capture_ready", capture=self.capture)
        self._feed(model.Saved(promise) if durable else model.Failed())

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
            self._state, actions = machine.step(self._config, self._state, event, now)
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
        elif isinstance(action, model.Replay):
            session.play(self._take.frames(self._codec) if self._take else [], action.token)
        elif isinstance(action, model.StopPlay):
            session.stop()
        elif isinstance(action, model.Remember):
            self._remember(action)
        elif isinstance(action, model.AskStatus):
            self._ask_status(action.number)
        elif recording is not None:
            self._do_recording(action, now, session, recording)

    def _do_recording(self, action: model.Action, now: int, session: Session, recording: Recording) -> None:
        if isinstance(action, model.Note):
            recording.note(Mark(now, action.name))
        elif isinstance(action, model.Record):
            self._record(action.anew, now, session, recording)
        elif isinstance(action, model.Hold):
            session.hold()
        elif isinstance(action, model.Sync):
            # By way of the media thread: what has arrived until now is part of what is made durable.
            session.catch_up(lambda: self._sync(recording))
        elif isinstance(action, model.Save):
            self._finish(action)

    def _record(self, anew: bool, now: int, session: Session, recording: Recording) -> None:
        if self._began:  # one time line for the whole call
            if anew and self._take is not None:
                self._take.forget()
            session.go_on()
            return
        self._began = True
        recording.note(Mark(now, "recording"))
        if not (self._number.line.plan.review or self._number.line.studio):
            session.record(recording.audio)
            return
        take = self._take = Take(self._house.takes)

        def sink(packets: Packets, at: float) -> None:
            recording.audio(packets, at)
            for offset, payload in packets:
                take.hear(offset, payload)

        session.record(sink)

    def _sync(self, recording: Recording) -> None:
        recording.sync(lambda: self._later(self._feed)(model.Synced()))
        self._house.recorder.wake()

    def _remember(self, action: model.Remember) -> None:
        self._house.memory.keep(
            self._number.practice, self._leg.caller, action.language, action.slow, clock.monotonic()
        )

    def _ask_status(self, number: str) -> None:
        self._house.told(
            "status", capture=self.capture, practice=self._number.practice, number=number,
            caller=self._config.caller,
        )  # fmt: skip

    def _open_recording(self) -> Recording | None:
        """None, whatever went wrong: the caller hears `trouble`, and is not left alone with silence."""
        try:
            meta = CaptureMeta(
                capture=self.capture, practice=self._number.practice, mailbox=self._number.mailbox,
                dialled=self._leg.dialled, caller=self._leg.caller, answered_at=clock.iso(clock.utc_now()),
                language=self._config.languages[0], codec=self._codec, snapshot=self._snapshot.version,
                flow=self._number.line.flow,
            )  # fmt: skip
            return self._house.recorder.open(meta, self._snapshot.epoch, self._later(self._failed))
        except CannotRecord:
            return None  # the recorder has logged and counted it
        except Exception as error:
            self._house.log.failure("capture_not_opened", error, capture=self.capture)
            return None

    def _later(self, act: Callable[..., None]) -> Callable[..., None]:
        """For other threads: `act` in the event loop, if that still runs."""

        def post(*values: object) -> None:
            try:
                self._loop.call_soon_threadsafe(act, *values)
            except RuntimeError:
                return

        return post

    def _line(self) -> Line:
        """The line as it is known now. A worker that is silent for long alerts nobody: then no team is spoken of."""
        snapshot, age = self._house.now_in_force()
        line = snapshot.number(self._leg.dialled).line
        return replace(line, team=line.team and age < TEAM_FRESH)

    def _promise(self, save: model.Save) -> model.Promise:
        """What may be said at this moment, from the snapshot of this moment; it goes into the capture first."""
        age = self._house.now_in_force()[1]
        promise, until = self._line().promise_at(save.urgent, clock.utc_now(), age)
        clip = promise.urgent or promise.routine
        if save.promised and clip and self._config.number and self._recording is not None:
            mark = f"promise:{clip}:{clock.iso(until) if until else '-'}"
            self._recording.note(Mark(max(0, self._ms(clock.monotonic())), mark))
        return promise

    def _finish(self, save: model.Save) -> None:
        recording, session = self._recording, self._session
        if recording is None or session is None:
            self._feed(model.Failed())
            return
        promise = self._promise(save)
        end = End(max(0, self._ms(clock.monotonic())), save.reason)

        def write() -> None:
            recording.finish(end, self._later(lambda durable: self._stored(durable, promise)))
            self._house.recorder.wake()

        session.stop_recording(write)

    def _hang_up(self) -> None:
        for timer in (self._timer, self._longest):
            if timer is not None:
                timer.cancel()
        if self._take is not None:
            self._take.close()
        if self._recording is not None and self._recording.ending is None:
            self._finish(model.Save(EndReason.INTERRUPTED))
        if self._up:
            self._up = False
            self._leg.hangup(*self._why)
        if self._securing is not None:
            self._securing.close()
        if self._session is not None:
            self._session.close()
            self._house.told("call_ended", capture=self.capture)
        self._session = self._securing = None
        let_go(self._leg)
        self._house.over(self)

    def _give_up(self) -> None:
        self._state = model.State(phase=Phase.DONE)
        try:
            self._hang_up()
        except Exception as error:
            self._house.log.failure("call_not_ended", error, capture=self.capture)
