"""Practices, the people who work there, and their tokens."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from nightbell.people.roles import Role
from nightbell.store.ids import UlidField


class Practice(models.Model):
    """A tenant. `code` is generated (two letters, two digits): it is all that a notification says of it."""

    id = UlidField()
    code = models.CharField(max_length=4, unique=True)
    name = models.CharField(max_length=120)
    zone = models.CharField(max_length=60, default="America/New_York")
    language = models.CharField(max_length=2, default="en")
    number = models.CharField(max_length=20, blank=True, default="")  # what a patient sees when called back
    takes_unrouted = models.BooleanField(default=False)  # owns captures of numbers nobody configured
    line_test_at = models.PositiveSmallIntegerField(null=True, default=1050)  # local minutes; null: none
    tested_number = models.CharField(max_length=20, blank=True, default="")  # a test came in by it
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Makes users with a hashed password."""

    def create_user(self, login: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(login=login, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(login=username)


class User(AbstractBaseUser):
    """One person, one log-in, one practice, one role."""

    id = UlidField()
    login = models.CharField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    email = models.EmailField(blank=True, default="")
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="users")
    role = models.CharField(max_length=20, choices=[(r.value, r.value) for r in Role])
    language = models.CharField(max_length=2, default="en")
    is_active = models.BooleanField(default=True)
    # Of a covering clinician (docs/adr/0010): the person's own row, in their own practice. This one never logs in.
    home = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="guests")

    USERNAME_FIELD = "login"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["name"]
    objects = UserManager()

    is_staff = False  # there is no admin site
    is_superuser = False

    def __str__(self) -> str:
        return self.name

    def get_full_name(self) -> str:
        return self.name

    @property
    def person_id(self) -> str:
        """Whose telephones, email and PIN these are: of a covering clinician those of their own row."""
        return self.home_id or self.id

    @property
    def initials(self) -> str:
        parts = [part for part in self.name.replace(".", " ").split() if part.lower() not in ("dr", "doctor")]
        return "".join(part[0] for part in (parts[:1] + parts[-1:] if len(parts) > 1 else parts)).upper()


class Cover(models.Model):
    """A clinician of one practice who covers nights of another: asked, accepted by that person, ended by either side.

    `guest` is their row in the practice that asks, made when they accept. Rows are ended, never deleted.
    """

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="covers")  # that asks
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="covers")  # who is asked
    guest = models.OneToOneField(User, null=True, on_delete=models.PROTECT, related_name="cover")
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=80, blank=True, default="")  # as in the log

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["practice", "user"], condition=models.Q(ended_at=None), name="one_cover_at_a_time"
            )
        ]


class ContactKind(models.TextChoices):
    """The ways to a person, in the order in which they wake somebody least to most."""

    EMAIL = "email"
    PUSH = "push"
    SMS = "sms"
    VOICE = "voice"
    OTHER = "other"  # by an Apprise address


class Contact(models.Model):
    """A way to a person. It is used only after its owner has proved it (`verified_at`), and not once it was disowned."""

    id = UlidField()
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="contacts")
    kind = models.CharField(max_length=8, choices=ContactKind.choices)
    address = models.CharField(max_length=600)  # email, E.164 number, push endpoint, Apprise URL
    details = models.JSONField(default=dict)  # push: {"p256dh", "auth"}, base64url
    label = models.CharField(max_length=40, blank=True, default="")
    position = models.PositiveSmallIntegerField(default=0)  # told first to last
    created_at = models.DateTimeField()
    verified_at = models.DateTimeField(null=True)
    tested_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)  # taken away, or its owner said that it is not theirs
    ended_why = models.CharField(max_length=40, blank=True, default="")
    code_digest = models.CharField(max_length=64, blank=True, default="")  # of the code that proves it
    code_until = models.DateTimeField(null=True)
    code_tries = models.PositiveSmallIntegerField(default=0)
    code_sealed = models.TextField(blank=True, default="")  # the code, until it has left
    code_times = models.JSONField(default=list)  # when codes and tests left, of the last day
    send_at = models.DateTimeField(null=True)  # when the code, or without one a test, is to leave (again)
    quiet_from = models.PositiveSmallIntegerField(
        null=True
    )  # minutes after midnight; never for what is urgent
    quiet_until = models.PositiveSmallIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "kind", "address"], name="one_contact_once")]


class Pin(models.Model):
    """What a person keys on the telephone. The hash alone; tries are counted here, by the worker (DESIGN §2)."""

    user = models.OneToOneField(User, primary_key=True, on_delete=models.CASCADE, related_name="pin")
    digest = models.CharField(max_length=200)  # as django.contrib.auth.hashers has it
    set_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    locked_until = models.DateTimeField(null=True)
    in_tries = models.PositiveSmallIntegerField(
        default=0
    )  # in calls that rang in, whose number anybody can forge
    in_locked_until = models.DateTimeField(null=True)


class ApiToken(models.Model):
    """A bearer token, kept only as a SHA-256. It acts as its user, within its scopes."""

    id = UlidField()
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=60)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class RiskAcceptance(models.Model):
    """A risk of the installation that somebody accepted on record, see people.risks. Rows are ended, never deleted."""

    id = UlidField()
    kind = models.CharField(max_length=20)
    subject = models.CharField(max_length=26)  # the id of what it is about
    about = models.TextField()  # the same in words, as it was then, with every network
    covers = models.CharField(max_length=64, default="")  # a hash of all of it that matters
    reason = models.TextField()
    accepted_by = models.CharField(max_length=80)  # as in the log
    accepted_name = models.CharField(max_length=120)
    accepted_at = models.DateTimeField()
    until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)  # withdrawn or renewed
    ended_by = models.CharField(max_length=80, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["kind", "ended_at"], name="risk_in_force")]
