"""Django's settings, derived from nightbell.core.config. No setting is written here twice."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from nightbell.core.config import load

CONFIG = load()
_HOST = urlsplit(CONFIG.url).hostname or "localhost"


def _secret_key() -> str:
    """The key of sessions and signed cookies; a throw-away one before set-up has made the file."""
    path = CONFIG.keys / "django.secret"
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return secrets.token_urlsafe(50)


def _database() -> dict[str, object]:
    if CONFIG.database == "sqlite":
        return {
            "ENGINE": "nightbell.store.turns",
            "NAME": str(CONFIG.home / "db" / "nightbell.sqlite3"),
            "CONN_MAX_AGE": 60,  # opening one and its pragmas cost more than most requests
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                # recursive_triggers: INSERT OR REPLACE must not slip past the append-only triggers.
                "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA secure_delete=ON;"
                "PRAGMA recursive_triggers=ON;PRAGMA foreign_keys=ON;",
            },
        }
    parts = urlsplit(CONFIG.database)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        # sslmode, sslrootcert: what the address asks for must not be left to the server.
        "OPTIONS": {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl")},
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }


SECRET_KEY = _secret_key()
DEBUG = False
ALLOWED_HOSTS = [_HOST, "localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "nightbell.server.urls"
WSGI_APPLICATION = "nightbell.server.wsgi.application"
DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "people.User"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = True
LOGGING_CONFIG = None  # Django's loggers print request paths and values; ours is an allow-list

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "nightbell.store.apps.StoreConfig",
    "nightbell.audit.apps.AuditConfig",
    "nightbell.people.apps.PeopleConfig",
    "nightbell.mailbox.apps.MailboxConfig",
    "nightbell.oncall.apps.OncallConfig",
    "nightbell.line.apps.LineConfig",
    "nightbell.compliance.apps.ComplianceConfig",
    "nightbell.web.apps.WebConfig",
]

MIDDLEWARE = [
    "nightbell.web.middleware.Guard",
    "django.middleware.security.SecurityMiddleware",
    "nightbell.web.middleware.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "nightbell.web.middleware.RequireSecondFactor",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [str(Path(__file__).resolve().parents[1] / "web" / "templates")],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "nightbell.web.context.shell",
            ],
        },
    }
]

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# People are invited by their manager; nobody signs up.
ACCOUNT_ADAPTER = "nightbell.web.accounts.Adapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = "login"
ACCOUNT_USER_MODEL_EMAIL_FIELD = "email"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_RATE_LIMITS = {
    # For passwords, key is the address with the log-in (web.accounts.Adapter): who guesses from elsewhere locks nobody
    # out. For codes, key is the person: only who knows the password comes so far.
    "login_failed": "10/m/ip,5/5m/key",
    # The same log-in from anywhere: more than a few addresses can reach, and passkeys are not bound by it.
    "login_failed_anywhere": "300/h/key",
    "reauthenticate": "10/m/user",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True  # at enrolment; who comes later with a stolen session finds none to copy
MFA_TOTP_ISSUER = "Nightbell"
MFA_TOTP_TOLERANCE = 1  # a code typed at the edge of its half minute
MFA_ADAPTER = "nightbell.web.accounts.MfaAdapter"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
USERSESSIONS_TRACK_ACTIVITY = False

CACHES = {
    # Throttles must hold across processes. Nothing of a message is ever cached.
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "nightbell_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},  # a full table drops entries: a flood would wash the limits out
    }
}

SESSION_COOKIE_NAME = "__Host-nightbell"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"  # the link in a notification must find the session
SESSION_COOKIE_AGE = 12 * 3600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_COOKIE_NAME = "__Host-nightbell-csrf"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "nightbell.web.errors.csrf_failure"
CSRF_TRUSTED_ORIGINS = [CONFIG.url]
SECURE_PROXY_SSL_HEADER = None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

STATIC_URL = "/static/"
STATIC_ROOT = str(CONFIG.home / "static")
STATICFILES_DIRS = [str(Path(__file__).resolve().parents[1] / "web" / "static")]
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
FILE_UPLOAD_HANDLERS = ["nightbell.web.uploads.MemoryUpload"]  # nothing on disk
