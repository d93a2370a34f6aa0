"""Who is on call, the policies, the alerts that go on until the patient was reached, and the calls that we place."""

from __future__ import annotations

from django.db import models

from nightbell.core.ids import new_token
from nightbell.mailbox.models import Mailbox, Message, Number
from nightbell.people.models import Contact, Practice, User
from nightbell.store.ids import UlidField


class Schedule(models.Model):
    """An on-call schedule of a practice, in the practice's zone. The `main` one serves what no rule sends elsewhere."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="schedules")
    name = models.CharField(max_length=60, default="On call")
    main = models.BooleanField(default=True)
    fallback = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    fallback_email = models.EmailField(blank=True, default="")
    feed = models.CharField(max_length=64, blank=True, default="")  # SHA-256 of the calendar feed's secret
    steps = models.JSONField(default=list)  # of before there were policies: see oncall.policies.read_steps

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["practice"], condition=models.Q(main=True), name="one_main_schedule"
            )
        ]


class Shift(models.Model):
    """A weekly shift: starts on `weekday` (Monday 0) at `start` minutes after local midnight."""

    id = UlidField()
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="shifts")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    weekday = models.PositiveSmallIntegerField()
    start = models.PositiveSmallIntegerField()
    minutes = models.PositiveIntegerField()
    rank = models.PositiveSmallIntegerField(default=0)  # 0 first, 1 backup


class RotationUnit(models.TextChoices):
    DAY = "day"
    WEEK = "week"
    HOURS = "hours"


class Rotation(models.Model):
    """A layer: people take turns of `every` units, handed over at `handover` minutes after local midnight."""

    id = UlidField()
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="rotations")
    name = models.CharField(max_length=60, blank=True, default="")
    rank = models.PositiveSmallIntegerField(default=0)  # 0 first, 1 backup
    position = models.PositiveSmallIntegerField(
        default=0
    )  # of layers of one rank the higher covers the lower
    unit = models.CharField(max_length=5, choices=RotationUnit.choices, default=RotationUnit.WEEK)
    every = models.PositiveSmallIntegerField(default=1)
    starts_on = models.DateField()  # the first turn of the first member begins on this local day
    handover = models.PositiveSmallIntegerField(default=480)
    ends_on = models.DateField(null=True)  # the first local day on which no turn begins
    members = models.JSONField(default=list)  # user ids in their order; one may stand in it twice
    hours = models.JSONField(default=list)  # [{"weekday", "start", "minutes"}]; [] at all hours
    holidays_only = models.BooleanField(default=False)


class Holiday(models.Model):
    """A local day of a schedule on which holiday layers apply."""

    id = UlidField()
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="holidays")
    day = models.DateField()
    name = models.CharField(max_length=60, blank=True, default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["schedule", "day"], name="one_holiday_a_day")]


class SwapState(models.TextChoices):
    ASKED = "asked"
    ACCEPTED = "accepted"
    FAILED = "failed"  # nobody took it
    WITHDRAWN = "withdrawn"


class Swap(models.Model):
    """Somebody's shift that colleagues are asked to take, one after another. Until one accepts nothing changes."""

    id = UlidField()
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="swaps")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")  # who gives it away
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    asked = models.JSONField(default=list)  # [{"user", "at", "answer": "" | "yes" | "no" | "silent", "how"}]
    candidates = models.JSONField(default=list)  # user ids still to be asked, in order
    state = models.CharField(max_length=9, choices=SwapState.choices, default=SwapState.ASKED)
    by_phone = models.BooleanField(default=False)
    made_at = models.DateTimeField()
    next_at = models.DateTimeField()  # when the one who is asked counts as silent
    ended_at = models.DateTimeField(null=True)
    taken_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["state", "next_at"], name="swap_due")]


class Override(models.Model):
    """Someone else than the schedule says, from one instant to another."""

    id = UlidField()
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="overrides")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    made_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    swap = models.OneToOneField(Swap, null=True, on_delete=models.PROTECT, related_name="override")
    number = models.PositiveIntegerField(default=0)  # counts up in its schedule: the higher covers the lower


class Change(models.Model):
    """A change that a person made to a plan, with what was there before: the last one can be taken back (oncall.undo)."""

    id = UlidField()
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="changes")
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    number = models.PositiveIntegerField()  # counts up in its schedule: no clock says which is newest
    kind = models.CharField(max_length=8)  # see oncall.kept
    row = models.CharField(max_length=26)  # an id, of a holiday its day
    before = models.JSONField(null=True)  # its columns; null: there was none
    after = models.JSONField(null=True)
    undone_at = models.DateTimeField(null=True)


class Group(models.Model):
    """People who are told together, by name ("nurses")."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="groups")
    name = models.CharField(max_length=60)
    members = models.ManyToManyField(User, related_name="+")


class EscalationPolicy(models.Model):
    """Steps of whom to tell, how, and how long to wait: see oncall.policies. Its last resort is the schedule's."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="policies")
    name = models.CharField(max_length=60)
    steps = models.JSONField(default=list)


class Route(models.Model):
    """Which schedule and policy serve a message: the first route by position that fits. Empty fields fit everything."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="routes")
    position = models.PositiveSmallIntegerField(default=0)
    mailbox = models.ForeignKey(Mailbox, null=True, on_delete=models.CASCADE, related_name="+")
    number = models.ForeignKey(Number, null=True, on_delete=models.CASCADE, related_name="+")
    urgency = models.CharField(max_length=10, blank=True, default="")  # as mailbox.models.Urgency
    hours = models.CharField(max_length=6, blank=True, default="")  # 'open' or 'closed'
    schedule = models.ForeignKey(Schedule, null=True, on_delete=models.PROTECT, related_name="+")
    policy = models.ForeignKey(EscalationPolicy, null=True, on_delete=models.PROTECT, related_name="+")
    quiet_until_morning = models.BooleanField(default=False)  # never for what is urgent


class AlertState(models.TextChoices):
    OPEN = "open"
    OWNED = "owned"


class Alert(models.Model):
    """What must be owned. `policy` is frozen at the start; `token` is the link in its notifications."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="alerts")
    message = models.OneToOneField(Message, on_delete=models.PROTECT, related_name="alert")
    token = models.CharField(max_length=22, unique=True)
    state = models.CharField(max_length=8, choices=AlertState.choices, default=AlertState.OPEN)
    urgency = models.CharField(max_length=10, default="urgent")
    schedule = models.ForeignKey(Schedule, null=True, on_delete=models.PROTECT, related_name="+")
    policy = models.TextField()
    step = models.PositiveIntegerField(default=0)  # counts on for ever: attempts are told apart by it
    began = models.PositiveIntegerField(default=0)  # the step at which the policy began, last time it rang
    started_at = models.DateTimeField()
    next_at = models.DateTimeField()
    owned_at = models.DateTimeField(null=True)
    owner = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    handed_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    handed_until = models.DateTimeField(
        null=True
    )  # until then its owner must have opened it; null: they have

    class Meta:
        indexes = [
            models.Index(fields=["state", "next_at"], name="alert_due"),
            models.Index(fields=["handed_until"], name="alert_handed"),
        ]


class AttemptState(models.TextChoices):
    PENDING = "pending"  # recorded before it is sent
    SENT = "sent"
    FAILED = "failed"


class Attempt(models.Model):
    """One notification to one person by one channel; the exact bytes that left are kept."""

    id = UlidField()
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="attempts")
    step = models.PositiveIntegerField()
    user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    contact = models.ForeignKey(Contact, null=True, on_delete=models.SET_NULL, related_name="+")
    kind = models.CharField(max_length=10)  # as core.notice.NoticeKind
    channel = models.CharField(max_length=20, blank=True, default="")  # as people.models.ContactKind
    address = models.CharField(max_length=600)
    state = models.CharField(max_length=8, choices=AttemptState.choices, default=AttemptState.PENDING)
    recorded_at = models.DateTimeField()
    retry_at = models.DateTimeField()
    tries = models.PositiveIntegerField(default=0)
    alone = models.BooleanField(default=False)  # to the owner: handed over, or the patient was not reached
    twice = models.BooleanField(default=False)  # may have left twice: a sender died, or never got an answer
    sent_at = models.DateTimeField(null=True)
    sent = models.BinaryField(null=True)
    answer = models.CharField(max_length=120, blank=True, default="")
    reference = models.CharField(max_length=80, blank=True, default="")  # the provider's own id of it
    receipt = models.CharField(max_length=12, blank=True, default="")  # '', 'delivered' or 'undelivered'
    receipt_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["alert", "step", "channel", "address"], name="one_attempt_a_step")
        ]
        indexes = [
            models.Index(fields=["state", "retry_at"], name="attempt_due"),
            models.Index(fields=["reference"], name="attempt_reference"),
        ]


class CallBack(models.Model):
    """A clinician and a patient brought together by us, neither seeing the other's own number."""

    id = UlidField()
    message = models.ForeignKey(Message, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    contact = models.ForeignKey(Contact, null=True, on_delete=models.SET_NULL, related_name="+")
    asked_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)  # by the patient's phone
    ended_at = models.DateTimeField(null=True)
    why = models.CharField(max_length=20, blank=True, default="")  # how it ended: see oncall.voice.WORDS
    source = models.CharField(max_length=10, blank=True, default="")  # as mailbox.values.NumberView


class Reach(models.Model):
    """One try to reach the patient, and what came of it. The message stays open until one reached them."""

    id = UlidField()
    message = models.ForeignKey(Message, on_delete=models.PROTECT, related_name="reaches")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    outcome = models.CharField(max_length=16)  # as mailbox.models.Outcome, or 'no_answer'
    call = models.OneToOneField(CallBack, null=True, on_delete=models.PROTECT, related_name="reach")
    back_at = models.DateTimeField(null=True)  # when it comes back to its owner; null: settled
    told = models.PositiveSmallIntegerField(default=0)  # how often the owner was told since
    number = models.PositiveIntegerField(default=0)  # counts up in its message: no clock says which is newest


class VoiceCall(models.Model):
    """A call that we placed or took for a person of ours. Its id is the call's id on the phone."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=16)  # see oncall.dialogue
    user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    contact = models.ForeignKey(Contact, null=True, on_delete=models.SET_NULL, related_name="+")
    attempt = models.ForeignKey(Attempt, null=True, on_delete=models.SET_NULL, related_name="calls")
    callback = models.ForeignKey(CallBack, null=True, on_delete=models.SET_NULL, related_name="calls")
    swap = models.ForeignKey(Swap, null=True, on_delete=models.SET_NULL, related_name="calls")
    started_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    why = models.CharField(max_length=20, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["ended_at"], name="voice_call_open")]


class LineTest(models.Model):
    """One closing-time test or drill: what was checked, and how it went."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="line_tests")
    kind = models.CharField(max_length=8)  # 'evening' or 'drill'
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=8, default="running")  # 'running', 'passed' or 'failed'
    checks = models.JSONField(default=dict)  # name → {"ok", "at", "why"}
    message = models.ForeignKey(Message, null=True, on_delete=models.SET_NULL, related_name="+")
    told_at = models.DateTimeField(null=True)  # when a person was told of the failure
    call = models.CharField(max_length=26, blank=True, default="")  # of 'evening': its VoiceCall's id


class NoticeState(models.TextChoices):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


class Notice(models.Model):
    """Something a person is told that is no alert: planned under a key that exists once, sent by whichever way took it."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10)  # as core.notice.NoticeKind
    key = models.CharField(max_length=120, unique=True)  # what it is about, so that it is told once
    token = models.CharField(max_length=22, unique=True, default=new_token)  # the link in it
    made_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=NoticeState.choices, default=NoticeState.PENDING)
    retry_at = models.DateTimeField()
    tries = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    by = models.CharField(max_length=20, blank=True, default="")  # the kind of way it must go; '': any
    channel = models.CharField(max_length=20, blank=True, default="")  # as people.models.ContactKind
    sent = models.BinaryField(null=True)  # the exact bytes that left
    answer = models.CharField(max_length=120, blank=True, default="")
    # The last way that was tried, and the provider's own id of it.
    contact = models.ForeignKey(Contact, null=True, on_delete=models.SET_NULL, related_name="+")
    reference = models.CharField(max_length=80, blank=True, default="")
    in_vain = models.JSONField(default=dict)  # contact id → reference, where it did not arrive

    class Meta:
        indexes = [models.Index(fields=["state", "retry_at"], name="notice_due")]
