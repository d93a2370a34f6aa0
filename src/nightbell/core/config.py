"""Settings from the environment, read once into one frozen object (DESIGN §5)."""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from nightbell.core.errors import RefusedStart

MOST_PROCESSES = 16


@dataclass(frozen=True, slots=True)
class Config:
    """Where this installation lives and listens.

    home: data; keys: key material, never inside home; url: the fixed public address;
    sip_bind: addresses of SIP, each with UDP, TCP and TLS; sip_public: addresses that SIP shows beyond private networks, for a
    NAT with fixed rules, at most one of each family; sip_cert, sip_key: PEM files, '' for our own; sip_certs: a folder of
    more, NAME.pem with NAME.key; sip_ca: a PEM file of authorities beside the system's;
    rtp_ports: inclusive range of UDP ports; phone_processes: over which calls are spread; database: 'sqlite' or a postgresql:// URL. What may hold a password is not shown
    when this object is.
    """

    home: Path
    keys: Path
    url: str
    https_port: int
    sip_port: int
    sips_port: int
    rtp_ports: tuple[int, int]
    phone_processes: int
    bind: str
    database: str = field(repr=False)
    keyring: str = field(repr=False)
    key_provider: str
    key_token: str
    key_ca: str
    period_slot: str
    models: Path
    metrics_port: int
    smtp: str = field(repr=False)
    smtp_from: str
    smtp_ca: str
    sip_bind: tuple[str, ...] = ("127.0.0.1",)
    sip_public: tuple[str, ...] = ()
    sip_cert: str = ""
    sip_key: str = ""
    sip_certs: str = ""
    sip_ca: str = ""
    twilio_account: str = ""  # calls by webhook; '' where there are none
    twilio_token: str = field(default="", repr=False)
    twilio_api: str = "https://api.twilio.com"
    twilio_recording_keys: str = ""  # folder of RSA private keys, '<public key sid>.pem'
    telnyx_public_key: str = ""
    telnyx_api_key: str = field(default="", repr=False)
    telnyx_api: str = "https://api.telnyx.com"
    sms: str = ""  # who sends text messages: 'twilio', 'telnyx' or nobody
    sms_from: str = ""  # the number that they come from, or Twilio's messaging service
    telnyx_messaging_profile: str = ""
    push_subject: str = ""  # mailto: or https:, where a push service finds us
    push_local: bool = False  # push also to private networks: for tests

    heartbeat: str = field(
        default="", repr=False
    )  # told each minute that all is well; whoever knows it can say so too
    heartbeat_ca: str = ""
    fhir_url: str = ""  # base of the practice's record system, '' for none
    fhir_token_file: str = ""  # read anew for each request
    fhir_ca: str = ""

    @property
    def sip_own(self) -> Path:
        """Where our own SIP certificate lies: sip.pem, sip.key and ca.pem.

        Its key opens nothing that is stored, so that it needs no place apart from the data; it must lie where the phone,
        and not only the worker, can read it.
        """
        return self.home / "phone" / "tls"

    @property
    def spool(self) -> Path:
        return self.home / "phone" / "spool"

    @property
    def control_socket(self) -> Path:
        return self.home / "run" / "control.sock"

    @property
    def outbox(self) -> Path:
        return self.home / "outbox"

    @property
    def blobs(self) -> Path:
        return self.home / "blobs"


def secret(environ: Mapping[str, str], name: str, default: str = "") -> str:
    """`NAME`, or the first line of the file that `NAME_FILE` names."""
    file = environ.get(f"{name}_FILE")
    if file is None:
        return environ.get(name, default)
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise RefusedStart(
            f"{name}_FILE",
            f"the file cannot be read ({error.strerror})",
            "correct the path or its permissions",
        ) from error


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise RefusedStart(name, f"{text!r} is not a port", "use a number from 1 to 65535")
    return int(text)


def _ports(environ: Mapping[str, str], name: str, default: str) -> tuple[int, int]:
    text = environ.get(name, default)
    low, _, high = text.partition("-")
    if not (low.isdigit() and high.isdigit() and 1024 <= int(low) < int(high) < 65536):
        raise RefusedStart(name, f"{text!r} is not a range of ports", "write it as 20000-29999")
    return int(low), int(high)


def _addresses(environ: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    """A comma list of addresses. An address of one link alone (with a scope) is none that a carrier could call."""
    found = []
    for text in environ.get(name, default).split(","):
        text = text.strip().strip("[]").replace("localhost", "127.0.0.1")
        if not text:
            continue
        try:
            address = ipaddress.ip_address(text)
        except ValueError as error:
            why = f"{text[:60]!r} is not an address"
            raise RefusedStart(
                name, why, "write addresses with commas between: 192.0.2.7, 2001:db8::7"
            ) from error
        if getattr(address, "scope_id", None):
            raise RefusedStart(name, f"{text[:60]!r} has a scope", "use an address without one")
        found.append(str(address))
    if default and not found:
        raise RefusedStart(name, "it names no address", "name one, or leave the setting out")
    return tuple(dict.fromkeys(found))


def _public(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    found = _addresses(environ, name, "")
    if len({":" in one for one in found}) < len(found):
        raise RefusedStart(name, "it names two addresses of one family", "name one IPv4 and one IPv6 address")
    return found


def _processes(environ: Mapping[str, str], name: str) -> int:
    """One for each core but one, which is left to SIP, pages and speech."""
    text = environ.get(name, "")
    if not text:
        return min(max(len(os.sched_getaffinity(0)) - 1, 1), MOST_PROCESSES)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PROCESSES):
        raise RefusedStart(
            name, f"{text[:20]!r} is not a number of processes", f"use 1 to {MOST_PROCESSES}, or leave it out"
        )
    return int(text)


def _https(environ: Mapping[str, str], name: str, default: str) -> str:
    text = environ.get(name, default).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.path or parts.query:
        raise RefusedStart(name, f"{text!r} is not an https address", "write https://name[:port]")
    return text


def load(environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings. Raises RefusedStart naming the setting, why, and the mend."""
    env = os.environ if environ is None else environ
    home = Path(env.get("NIGHTBELL_HOME", "var")).absolute()
    keys = Path(env.get("NIGHTBELL_KEYS", "var-keys")).absolute()
    https_port = _port(env, "NIGHTBELL_HTTPS_PORT", 8443)
    return Config(
        home=home,
        keys=keys,
        url=_url(env, https_port),
        https_port=https_port,
        rtp_ports=_ports(env, "NIGHTBELL_RTP_PORTS", "20000-29999"),
        phone_processes=_processes(env, "NIGHTBELL_PHONE_PROCESSES"),
        bind=env.get("NIGHTBELL_BIND", "127.0.0.1"),
        database=secret(env, "NIGHTBELL_DATABASE", "sqlite"),
        keyring=secret(env, "NIGHTBELL_KEYRING", "sqlite"),
        key_provider=env.get("NIGHTBELL_KEY_PROVIDER", "file"),
        key_token=env.get("NIGHTBELL_KEY_TOKEN_FILE", ""),
        key_ca=env.get("NIGHTBELL_KEY_CA", ""),
        period_slot=env.get("NIGHTBELL_PERIOD_SLOT", ""),
        models=Path(env.get("NIGHTBELL_MODELS", str(Path.cwd() / "models"))).absolute(),
        metrics_port=_port(env, "NIGHTBELL_METRICS_PORT", 9464),
        smtp=secret(env, "NIGHTBELL_SMTP"),
        smtp_from=env.get("NIGHTBELL_SMTP_FROM", ""),
        smtp_ca=env.get("NIGHTBELL_SMTP_CA", ""),
        **_sip(env),
        **_webhooks(env),
        **_records(env),
        **_heartbeat(env),
        **_channels(env),
    )


def _url(env: Mapping[str, str], https_port: int) -> str:
    url = env.get("NIGHTBELL_URL", f"https://localhost:{https_port}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path:
        raise RefusedStart("NIGHTBELL_URL", f"{url!r} is not an https address", "write https://name[:port]")
    return url


class _Sip(TypedDict):
    sip_port: int
    sips_port: int
    sip_bind: tuple[str, ...]
    sip_public: tuple[str, ...]
    sip_cert: str
    sip_key: str
    sip_certs: str
    sip_ca: str


def _sip(env: Mapping[str, str]) -> _Sip:
    return _Sip(
        sip_port=_port(env, "NIGHTBELL_SIP_PORT", 5060),
        sips_port=_port(env, "NIGHTBELL_SIPS_PORT", 5061),
        sip_bind=_addresses(env, "NIGHTBELL_SIP_BIND", env.get("NIGHTBELL_BIND", "127.0.0.1")),
        sip_public=_public(env, "NIGHTBELL_SIP_PUBLIC"),
        sip_cert=env.get("NIGHTBELL_SIP_CERT", ""),
        sip_key=env.get("NIGHTBELL_SIP_KEY", ""),
        sip_certs=env.get("NIGHTBELL_SIP_CERTS", ""),
        sip_ca=env.get("NIGHTBELL_SIP_CA", ""),
    )


class _Webhooks(TypedDict):
    twilio_account: str
    twilio_token: str
    twilio_api: str
    twilio_recording_keys: str
    telnyx_public_key: str
    telnyx_api_key: str
    telnyx_api: str


def _webhooks(env: Mapping[str, str]) -> _Webhooks:
    return _Webhooks(
        twilio_account=env.get("NIGHTBELL_TWILIO_ACCOUNT", ""),
        twilio_token=secret(env, "NIGHTBELL_TWILIO_TOKEN"),
        twilio_api=_https(env, "NIGHTBELL_TWILIO_API", "https://api.twilio.com"),
        twilio_recording_keys=env.get("NIGHTBELL_TWILIO_RECORDING_KEYS", ""),
        telnyx_public_key=env.get("NIGHTBELL_TELNYX_PUBLIC_KEY", ""),
        telnyx_api_key=secret(env, "NIGHTBELL_TELNYX_API_KEY"),
        telnyx_api=_https(env, "NIGHTBELL_TELNYX_API", "https://api.telnyx.com"),
    )


class _Channels(TypedDict):
    sms: str
    sms_from: str
    telnyx_messaging_profile: str
    push_subject: str
    push_local: bool


def _channels(env: Mapping[str, str]) -> _Channels:
    sender, subject = env.get("NIGHTBELL_SMS_FROM", ""), env.get("NIGHTBELL_PUSH_SUBJECT", "")
    if subject and not subject.startswith(("mailto:", "https://")):
        why = "it is neither a mailto: nor an https: address"
        raise RefusedStart("NIGHTBELL_PUSH_SUBJECT", why, "write mailto:you@practice.example")
    return _Channels(
        sms=_texter(env) if sender else "",
        sms_from=sender,
        telnyx_messaging_profile=env.get("NIGHTBELL_TELNYX_MESSAGING_PROFILE", ""),
        push_subject=subject or _url(env, _port(env, "NIGHTBELL_HTTPS_PORT", 8443)),
        push_local=env.get("NIGHTBELL_PUSH_LOCAL", "") == "1",
    )


def _texter(env: Mapping[str, str]) -> str:
    """Who sends text messages: the provider that NIGHTBELL_SMS names, or the only one that is set up."""
    there = [
        name
        for name, setting in (("twilio", "NIGHTBELL_TWILIO_ACCOUNT"), ("telnyx", "NIGHTBELL_TELNYX_API_KEY"))
        if env.get(setting) or env.get(f"{setting}_FILE")
    ]
    named = env.get("NIGHTBELL_SMS", "")
    if named in there or (not named and len(there) == 1):
        return named or there[0]
    if named or not there:
        why = f"{named[:20]!r} is not set up" if named else "no provider of text messages is set up"
        raise RefusedStart("NIGHTBELL_SMS" if named else "NIGHTBELL_SMS_FROM", why, "set up Twilio or Telnyx")
    raise RefusedStart("NIGHTBELL_SMS", "Twilio and Telnyx are both set up", "name the one that sends texts")


class _Heartbeat(TypedDict):
    heartbeat: str
    heartbeat_ca: str


def _heartbeat(env: Mapping[str, str]) -> _Heartbeat:
    url = secret(env, "NIGHTBELL_HEARTBEAT_URL")
    parts = urlsplit(url)
    if url and (parts.scheme != "https" or not parts.hostname or parts.username or parts.password):
        raise RefusedStart("NIGHTBELL_HEARTBEAT_URL", "it is not an https address", "write https://host/path")
    return _Heartbeat(heartbeat=url, heartbeat_ca=env.get("NIGHTBELL_HEARTBEAT_CA", ""))


class _Records(TypedDict):
    fhir_url: str
    fhir_token_file: str
    fhir_ca: str


def _records(env: Mapping[str, str]) -> _Records:
    url = env.get("NIGHTBELL_FHIR_URL", "").rstrip("/")
    parts = urlsplit(url)
    if url and (
        parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment
    ):
        raise RefusedStart("NIGHTBELL_FHIR_URL", "it is not a plain https address", "write https://host/path")
    return _Records(
        fhir_url=url,
        fhir_token_file=env.get("NIGHTBELL_FHIR_TOKEN_FILE", ""),
        fhir_ca=env.get("NIGHTBELL_FHIR_CA", ""),
    )


PAIRS = (("twilio_account", "twilio_token"), ("telnyx_public_key", "telnyx_api_key"))


def both(config: Config, *fields: str) -> bool:
    """Whether a provider is set up. One half alone would take calls and fetch nothing, or the reverse. Raises RefusedStart."""
    given = [bool(getattr(config, field)) for field in fields]
    if any(given) and not all(given):
        names = [f"NIGHTBELL_{field.upper()}" for field in fields]
        missing = names[given.index(False)]
        raise RefusedStart(" and ".join(names), f"{missing} is missing", "set both, or neither")
    return all(given)


def check_pairs(config: Config) -> None:
    """Settings that belong together. Raises RefusedStart."""
    for pair in PAIRS:
        both(config, *pair)


def check_keys_apart(config: Config) -> None:
    """Keys live apart from data (decision 4). Raises RefusedStart."""
    if config.keys.resolve().is_relative_to(config.home.resolve()):
        raise RefusedStart(
            "NIGHTBELL_KEYS",
            "it lies inside NIGHTBELL_HOME, so whoever copies the data would hold the keys too",
            "put it on another path, best on another disk",
        )
    if config.keys.exists():
        for path in (config.keys, *sorted(config.keys.rglob("*"))):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & 0o077:
                raise RefusedStart(
                    "NIGHTBELL_KEYS", f"{path} can be read by others", f"run: chmod -R go-rwx {config.keys}"
                )
