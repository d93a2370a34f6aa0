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
    def initials(self) -> str:
        parts = [part for part in self.name.replace(".", " ").split() if part.lower() not in ("dr", "doctor")]
        return "".join(part[0] for part in (parts[:1] + parts[-1:] if len(parts) > 1 else parts)).upper()


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
