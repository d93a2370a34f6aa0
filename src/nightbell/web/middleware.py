"""Middleware of the web process: headers and errors outermost, then static files, then the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

from nightbell.core.config import load
from nightbell.people.access import NotFound, demand
from nightbell.people.roles import Act
from nightbell.web import static_files
from nightbell.web.doors import Door, actor_of, declared
from nightbell.web.errors import dressed, respond

Next = Callable[[HttpRequest], HttpResponse]

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "manifest-src 'self'"
)
PERMISSIONS = (
    "accelerometer=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
    "magnetometer=(), microphone=(), midi=(), payment=(), usb=(), publickey-credentials-get=(self), "
    "publickey-credentials-create=(self)"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "Permissions-Policy": PERMISSIONS,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex, nofollow",
}


class Guard:
    """Outermost: every answer gets its headers, every exception becomes an answer."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response
        # Under a real name only: on localhost it would bind every other server of this machine too.
        self.strict = urlsplit(load().url).hostname not in ("localhost", "127.0.0.1", "::1")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = dressed(request, self.get_response(request))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if self.strict:
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        # What is not a file of ours may hold a patient's words: no cache anywhere may keep it.
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse:
        return respond(request, exception)


class StaticFiles:
    """Answers /static/ before sessions and databases are touched."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/static/"):
            return static_files.serve(request, request.path_info.removeprefix("/static/"))
        return self.get_response(request)


class RequireSecondFactor:
    """The door to every view: default deny, then log-in, then a second factor, then the role's act."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        try:
            return self._judge(request, view)
        except Exception as error:  # raised here, Django would send it past process_exception
            return respond(request, error)

    def _judge(self, request: HttpRequest, view: Callable[..., Any]) -> HttpResponseBase | None:
        access = declared(view)
        if access is None:
            raise NotFound("This page does not say who may see it", "", "tell the developers")
        if access.need in (Door.OPEN, Door.TOKEN, Door.HOOK):
            return None
        if not request.user.is_authenticated:
            return _to_log_in(request)
        if access.need is Door.SELF:
            return None
        if not has_second_factor(request):
            return HttpResponseRedirect(reverse("enrol"))
        if isinstance(access.need, Act):
            demand(actor_of(request), access.need)
        return None


def has_second_factor(request: HttpRequest) -> bool:
    """Whether this person has an authenticator app or a passkey. One indexed query."""
    from allauth.mfa.models import Authenticator
    from allauth.mfa.utils import is_mfa_enabled

    return bool(is_mfa_enabled(request.user, [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]))


def _to_log_in(request: HttpRequest) -> HttpResponse:
    target = reverse("account_login")
    if request.headers.get("HX-Request"):
        response = HttpResponse(status=204)  # a page left open over a sign-out: go to the door as a whole
        response["HX-Redirect"] = target
        return response
    if request.method == "GET" and request.path_info != "/":
        target += "?next=" + quote(request.get_full_path())
    return HttpResponseRedirect(target)
