"""The message and what belongs to it. Columns that end in `_sealed` are PHI under the message's own key."""

from __future__ import annotations

import re
from typing import Any

from django.db import models

from nightbell.people.models import Practice, User
from nightbell.store.ids import UlidField


class Mailbox(models.Model):
    """A tray of a practice: nurse line, refills, billing."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="mailboxes")
    name = models.CharField(max_length=60)
    position = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Number(models.Model):
    """A number (DID) or SIP user that callers dial, and the mailbox behind it."""

    dialled = models.CharField(max_length=40, primary_key=True)
    mailbox = models.ForeignKey(Mailbox, on_delete=models.PROTECT, related_name="numbers")
    staff = models.BooleanField(
        default=False
    )  # for the practice's own people: nothing is recorded, the worker drives it

    @staticmethod
    def plain(dialled: str) -> str:
        """As the phone compares it: without plus sign, separators and case."""
        return re.sub(r"[\s().+-]", "", dialled).lower()

    def save(self, **options: Any) -> None:
        self.dialled = self.plain(self.dialled)
        super().save(**options)


class State(models.TextChoices):
    """Who has it: nobody yet, a person, or it is done."""

    NEW = "new"
    OWNED = "acknowledged"
    CLOSED = "closed"
    DISPOSED = "disposed"


class Urgency(models.TextChoices):
    ROUTINE = "routine"
    REVIEW = "review"
    URGENT = "urgent"


class Kind(models.TextChoices):
    MESSAGE = "message"
    MISSED = "missed"
    STATUS = "status"  # asked how far a message is, and left none


class Words(models.TextChoices):
    """How far the transcript is."""

    PENDING = "pending"
    READY = "ready"
    EMPTY = "empty"  # nothing could be made out, or nothing was said
    FAILED = "failed"


class Outcome(models.TextChoices):
    """What happened with the patient (DESIGN decision 9)."""

    REACHED = "reached"
    LEFT_WORD = "left_word"
    WRONG_NUMBER = "wrong_number"
    EMERGENCY = "emergency"
    NO_CALL_NEEDED = "no_call_needed"
    NO_ANSWER = "no_answer"


# With the others the patient still waits: the message stays with its owner (see oncall.outcomes).
SETTLED = frozenset({Outcome.REACHED, Outcome.EMERGENCY, Outcome.NO_CALL_NEEDED})


class Message(models.Model):
    """One call, after intake. Its id is the capture's id, which makes intake exactly-once.

    One that `joins` another says that it got worse: it is worked on with that one and has no place of its own.
    """

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="messages")
    mailbox = models.ForeignKey(Mailbox, null=True, on_delete=models.PROTECT, related_name="messages")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    state = models.CharField(max_length=12, choices=State.choices, default=State.NEW)
    urgency = models.CharField(max_length=10, choices=Urgency.choices, default=Urgency.ROUTINE)
    pressed_urgent = models.BooleanField(default=False)
    needs_alert = models.BooleanField(default=False)  # a due row: oncall picks it up
    dialled = models.CharField(max_length=40, blank=True, default="")  # our number, as Number has it
    language = models.CharField(max_length=2, default="en")
    answered_at = models.DateTimeField()
    received_at = models.DateTimeField()  # when the call ended
    stored_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField(default=0)
    end_reason = models.CharField(max_length=12)
    reached = models.CharField(max_length=40, blank=True, default="")  # how far a missed caller came
    audio_bytes = models.BigIntegerField(default=0)  # of the sealed object; 0: no audio
    wav_bytes = models.BigIntegerField(default=0)
    caller_sealed = models.BinaryField(null=True)
    callback_sealed = models.BinaryField(null=True)  # the number that the caller confirmed; null: none
    parts = models.JSONField(default=list)  # {"name", "start_s", "end_s", "earlier"} on the stored sound
    joins = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="additions")
    tags = models.JSONField(default=list)  # as marks.Said.tags; 'third', 'worse'
    promise = models.CharField(
        max_length=24, blank=True, default=""
    )  # clip that told the caller what follows
    promised_by = models.DateTimeField(null=True)
    late_at = models.DateTimeField(null=True)  # when it was noted that nobody had kept the promise
    flow = models.PositiveIntegerField(default=0)  # version of the call flow, 0 for none
    peaks_sealed = models.BinaryField(null=True)
    words = models.CharField(max_length=8, choices=Words.choices, default=Words.PENDING)
    transcript_sealed = models.BinaryField(null=True)
    reasons_sealed = models.BinaryField(null=True)
    owner = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="owned")
    owned_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    closed_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    outcome = models.CharField(max_length=16, blank=True, default="", choices=Outcome.choices)
    tried_at = models.DateTimeField(null=True)  # when somebody last tried in vain to reach the patient
    disposed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["practice", "state", "received_at"], name="message_inbox"),
            models.Index(fields=["needs_alert"], name="message_due", condition=models.Q(needs_alert=True)),
        ]


class Hearing(models.Model):
    """Who heard a message, first when, and how far."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="hearings")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    first_at = models.DateTimeField()
    heard_ms = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["message", "user"], name="one_hearing_a_person")]


class Shown(models.Model):
    """A message that a covering clinician may open: they were told of it, or on call when it rang. Nobody else needs one."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="shown_to")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["message", "user"], name="one_showing_a_person")]


class NoteKind(models.TextChoices):
    NOTE = "note"
    PHONE = "phone-note"  # signed; its text is JSON, see oncall.phone_note


class Note(models.Model):
    """What a person wrote about a message."""

    id = UlidField()
    kind = models.CharField(max_length=10, choices=NoteKind.choices, default=NoteKind.NOTE)
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="notes")
    author = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    text_sealed = models.BinaryField()


class Talk(models.Model):
    """A call back whose patient was asked whether it may be recorded, and the recording under the message's own key.

    Its id is the call back's, and that of the capture. It goes with its message; that they agreed stays known.
    """

    id = UlidField()
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="talks")
    agreed = models.BooleanField()
    asked_at = models.DateTimeField()  # when they answered, or did not
    stored_at = models.DateTimeField(null=True)  # when the recording was taken in
    duration_ms = models.PositiveIntegerField(default=0)
    interrupted = models.BooleanField(default=False)  # the recording was cut off
    audio_bytes = models.BigIntegerField(default=0)  # of the sealed object; 0: there is none
    wav_bytes = models.BigIntegerField(default=0)


class PlayGrant(models.Model):
    """Leave to fetch a message's sound for a short time, opened by one audit row (decision 6). talk: of that call back's
    sound, not the message's own."""

    id = UlidField()
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    talk = models.ForeignKey(Talk, null=True, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    session = models.CharField(max_length=64)  # SHA-256 of the session key or token id
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    heard_ms = models.PositiveIntegerField(default=0)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["closed_at", "expires_at"], name="grant_open")]


class Guess(models.Model):
    """Questions to the status line that found nothing, since one moment. `key`: what is counted, never a number."""

    key = models.CharField(max_length=80, primary_key=True)
    since = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)


class SealingEpoch(models.Model):
    """A sealing key epoch: its public half here, its private seed in the keyring until the spool has drained."""

    id = UlidField()
    public = models.TextField()  # base64
    created_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)  # no snapshot of ours names it any more
    destroyed_at = models.DateTimeField(null=True)
