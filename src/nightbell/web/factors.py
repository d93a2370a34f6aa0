"""The forms of second factors, stricter than allauth's own: a code counts once, and a broken passkey is a wrong one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.utils import decrypt
from allauth.mfa.webauthn.forms import (
    AuthenticateWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponseBase

LAST = "last_counter"  # beside the seed: the half minute of the last code that counted


def _counters(app: Authenticator, code: str) -> list[int]:
    """The half minutes within the tolerance whose code this is."""
    secret = decrypt(app.data["secret"])
    return [
        counter
        for counter in totp.yield_hotp_counters_from_time()
        if compare_user_code(actual=code, expected=totp.format_hotp_value(totp.hotp_value(secret, counter)))
    ]


def used(app: Authenticator, code: str) -> bool:
    """Whether it is a right code, but not a later one than the last that counted."""
    counters = _counters(app, code)
    return bool(counters) and max(counters) <= app.data.get(LAST, -1)


def spend(app: Authenticator, code: str) -> bool:
    """Let a code count, once (RFC 6238 §5.2). False: it did before, or a later one did.

    allauth keeps what was used for one half minute, but takes a code for three. The row is locked meanwhile, so that
    of two at once one wins.
    """
    with transaction.atomic():
        kept = Authenticator.objects.select_for_update().get(pk=app.pk)
        fresh = [counter for counter in _counters(kept, code) if counter > kept.data.get(LAST, -1)]
        if not fresh:
            return False
        kept.data[LAST] = max(fresh)
        kept.save(update_fields=["data"])
    return True


class _Once:
    """Codes of an authenticator app count once."""

    user: Any
    authenticator: Authenticator
    cleaned_data: dict[str, Any]

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        app = Authenticator.objects.filter(user=self.user, type=Authenticator.Type.TOTP).first()
        if app is not None and used(app, code):
            self.cleaned_data["code"] = ""  # wrong from here on: allauth counts the try
            with suppress(ValidationError):
                super().clean_code()  # type: ignore[misc]
            raise ValidationError(
                "That code was used already. Wait for the next one, at most half a minute.", "used"
            )
        super().clean_code()  # type: ignore[misc]
        if self.authenticator.type == Authenticator.Type.TOTP and not spend(self.authenticator, code):
            raise get_adapter().validation_error("incorrect_code")
        return code


class CodeForm(_Once, AuthenticateForm):  # type: ignore[misc]
    """The second step of a log-in."""


class ConfirmCodeForm(_Once, ReauthenticateForm):  # type: ignore[misc]
    """Proving oneself again."""


class ActivateApp(ActivateTOTPView):  # type: ignore[misc]
    """Setting up an app: the code that proves it counts too, and opens no log-in after."""

    def form_valid(self, form: Any) -> HttpResponseBase:
        with transaction.atomic():
            response: HttpResponseBase = super().form_valid(form)
            app = Authenticator.objects.get(user=self.request.user, type=Authenticator.Type.TOTP)
            spend(app, form.cleaned_data["code"])
        return response


class _Sturdy:
    """What no passkey ever sent is a wrong passkey, not an error of ours: allauth minds some shapes alone."""

    data: Any

    def full_clean(self) -> None:
        try:
            super().full_clean()  # type: ignore[misc]
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            self.data = {}  # the page that is shown again would read it again
            self.add_error("credential", get_adapter().validation_error("incorrect_code"))  # type: ignore[attr-defined]


class PasskeyLoginForm(_Sturdy, LoginWebAuthnForm):  # type: ignore[misc]
    """A log-in by passkey alone."""


class PasskeyForm(_Sturdy, AuthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey as the second step."""


class ConfirmPasskeyForm(_Sturdy, ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """Proving oneself again by passkey."""
