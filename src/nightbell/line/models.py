"""What callers hear: the plans that were in force, the one in the making, recordings and closures. No PHI."""

from __future__ import annotations

from django.db import models

from nightbell.people.models import Practice, User
from nightbell.store.ids import UlidField


class Version(models.Model):
    """A plan as it was published. Never changed after it was made; the highest number is in force."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()  # from 1
    plan = models.TextField()  # JSON, see flow.plan
    made_at = models.DateTimeField()
    made_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    brought_back = models.PositiveIntegerField(null=True)  # the number whose plan this is again

    class Meta:
        constraints = [models.UniqueConstraint(fields=["practice", "number"], name="one_version_a_number")]


class Draft(models.Model):
    """The plan in the making, one a practice. plan '': there is none now.

    The row outlives its plan, and `revision` only rises: who edits from an old page is told so, even when a draft
    was published or thrown away meanwhile. It is also the lock that the line's changes queue for.
    """

    practice = models.OneToOneField(
        Practice, primary_key=True, on_delete=models.PROTECT, related_name="draft"
    )
    plan = models.TextField(blank=True, default="")
    revision = models.PositiveIntegerField(default=0)
    base = models.PositiveIntegerField(default=0)  # the version that it was made from
    changed_at = models.DateTimeField()
    changed_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")


class Source(models.TextChoices):
    """How a recording came to be."""

    BROWSER = "browser"
    UPLOAD = "upload"
    SPEECH = "speech"
    PHONE = "phone"


class Clip(models.Model):
    """A practice's own recording. Its file is `<home>/phone/clips/<sha256>`, a WAV as flow.studio makes it."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="clips")
    clip = models.CharField(max_length=40)  # 'practice-name', 'own-greeting-closed', 'own-key-3', ...
    language = models.CharField(max_length=2)
    sha256 = models.CharField(max_length=64)
    seconds = models.FloatField()
    words = models.TextField(blank=True, default="")
    source = models.CharField(max_length=8, choices=Source.choices)
    made_at = models.DateTimeField()
    made_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["practice", "sha256"], name="clip_content")]
        constraints = [
            models.UniqueConstraint(
                fields=["practice", "clip", "language", "sha256"], name="one_clip_a_content"
            )
        ]


class Closure(models.Model):
    """Closed out of the ordinary. ends_at None: until somebody opens again; at_once: made on the spot."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="closures")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    visits = models.BooleanField(default=False)  # callers who had a visit are told about it
    at_once = models.BooleanField(default=False)
    made_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    ended_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["practice", "ends_at"], name="closure_in_force")]


class TryNumber(models.Model):
    """A number that can be called for a short time: to try a draft, or to record a clip.

    One for a recording outlives its time, for the call may be taken in late: what came of it is kept here.
    """

    dialled = models.CharField(max_length=40, primary_key=True)
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="+")
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    clip = models.CharField(max_length=40, blank=True, default="")  # what is recorded; '': the draft is tried
    language = models.CharField(max_length=2, blank=True, default="")
    kept = models.ForeignKey(Clip, null=True, on_delete=models.PROTECT, related_name="+")  # what came of it
    trouble = models.TextField(blank=True, default="")  # why the last recording could not be used, in words


class Trunk(models.Model):
    """A way to the phone network, of the whole installation. The fields are those of sip.trunk.Trunk.

    password: sealed, see store.vault; realm, algorithms: what the carrier's first challenge named; removed_at: taken
    out, kept for a while so that it can come back.
    """

    id = UlidField()
    name = models.CharField(max_length=60)
    preset = models.CharField(max_length=20)
    kind = models.CharField(max_length=12)
    domain = models.CharField(max_length=253, blank=True, default="")
    proxy = models.CharField(max_length=300, blank=True, default="")
    transport = models.CharField(max_length=3, default="tls")
    user = models.CharField(max_length=64, blank=True, default="")
    password = models.TextField(blank=True, default="")
    realm = models.CharField(max_length=255, blank=True, default="")
    algorithms = models.JSONField(default=list)
    sources = models.JSONField(default=list)
    peer_name = models.CharField(max_length=253, blank=True, default="")
    expires = models.PositiveIntegerField(default=600)
    keep_alive = models.PositiveIntegerField(default=30)
    dialled = models.JSONField(default=list)
    revision = models.PositiveIntegerField(default=1)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=80)
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=80)
    removed_at = models.DateTimeField(null=True)


# Django looks for models here alone.
from nightbell.line.carrier_models import CarrierCall as CarrierCall  # noqa: E402
from nightbell.line.carrier_models import CarrierRecording as CarrierRecording  # noqa: E402
