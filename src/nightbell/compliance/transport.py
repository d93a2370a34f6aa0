"""How everything travels that could be a patient's (45 CFR 164.312(e)(1)): each listener, each hop to the outside.

Which hops there are, their certificates, trunks and risks are read off the running system. The versions of TLS are fixed
in the code that opens each hop; tests hold these words and that code together. A hop that is neither encrypted nor accepted as a risk is not ok.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from nightbell.compliance import certificates
from nightbell.core.clock import iso
from nightbell.core.config import Config
from nightbell.line import encrypted_share
from nightbell.line.trunks import TrunkView, all_trunks
from nightbell.people.models import Contact, ContactKind
from nightbell.people.risk_rules import Standing, last_day, standing

RENEW = timedelta(days=21)
_VERIFIED = ("require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Risk:
    """An acceptance on record. until, accepted_at: ISO, UTC; last_day: the one that `until` is the end of; about: with
    every network."""

    accepted_by: str
    accepted_at: str
    until: str
    reason: str
    about: str
    standing: str
    last_day: str


@dataclass(frozen=True, slots=True)
class Hop:
    """direction: 'in' (a listener) or 'out'; peer: how the other side is known; certificate: ours, where we show one.
    encrypted: all of it; risk: who accepted that it is not; ok: encrypted, or accepted and not expired."""

    name: str
    direction: str
    protocol: str
    versions: str
    peer: str
    encrypted: bool
    ok: bool = True
    says: str = ""
    certificate_names: tuple[str, ...] = ()
    certificate_ends: str = ""
    risk: Risk | None = None
    word: str = ""  # in place of 'encrypted', where it is neither that nor accepted


def in_transit(config: Config, now: datetime) -> list[Hop]:
    """All hops, as they are set up now."""
    web = Hop(
        "Pages and API", "in", "HTTPS", "TLS 1.3", "people by password and second factor, or passkey", True
    )
    phone = Hop(
        "Calls, encrypted",
        "in",
        "SIP over TLS, SRTP",
        "TLS 1.2 or 1.3",
        "this machine, and the trunks by their addresses or certificates",
        True,
    )
    return [
        _certified(web, config.home / "tls" / "server.pem", now),
        _certified(phone, certificates.path_of_phone(config), now),
        Hop(
            "Calls, unencrypted", "in", "SIP by UDP or TCP, RTP", "none", "this machine, and trunks with an accepted risk",
            False, says="refused from everybody else", word="Only by decision",
        ),
        *(_trunk(one, now) for one in all_trunks()),
        *_outbound(config),
    ]  # fmt: skip


def _certified(hop: Hop, file: Path, now: datetime) -> Hop:
    facts = certificates.read(file)
    if facts is None:
        return replace(hop, ok=False, says=f"the certificate {file.name} cannot be read")
    left = facts.ends - now
    says = (
        "issued by Nightbell itself: others must be told to trust it"
        if facts.own
        else f"issued by {facts.issuer}"
    )
    if left < RENEW:
        says = (
            f"the certificate ends in {left.days} days" if left > timedelta() else "the certificate has ended"
        )
    return replace(
        hop, ok=left >= RENEW, says=says, certificate_names=facts.names, certificate_ends=iso(facts.ends)
    )


_KNOWN_BY = {
    "register": "TLS certificate of the carrier, our name and password by digest",
    "address": "the addresses that calls come from",
    "certificate": "the name in the carrier's client certificate",
}


def _trunk(one: TrunkView, now: datetime) -> Hop:
    tls = one.transport == "tls"
    hop = Hop(
        f"Trunk {one.name}", "in", "SIP over TLS" if tls else f"SIP by {one.transport.upper()}",
        "TLS 1.2 or 1.3" if tls else "none", _KNOWN_BY.get(one.kind, one.kind), not one.plain and tls,
    )  # fmt: skip
    if one.risk is None:
        if tls:
            return replace(hop, protocol="SIP over TLS, SRTP", says="unencrypted calls are refused")
        return replace(hop, says="nobody accepted the risk of going unencrypted", word="Not in use")
    stands = standing(one.risk.until, now)
    risk = Risk(
        one.risk.accepted_by, iso(one.risk.accepted_at), iso(one.risk.until), one.risk.reason, one.risk.about,
        stands.value, f"{last_day(one.risk.until)}",
    )  # fmt: skip
    last = last_day(one.risk.until)
    says = f"unencrypted calls are taken; accepted until {last}"
    if stands is Standing.EXPIRED:
        says = f"unencrypted calls are taken, and the acceptance ended on {last}"
    if one.risk_moved:
        says += f"; the trunk was changed since that was accepted: it is {one.brief} now"
    return replace(hop, ok=stands is not Standing.EXPIRED and not one.risk_moved, says=says, risk=risk)


def _outbound(config: Config) -> list[Hop]:
    hops: list[Hop] = []
    if config.smtp:
        peer = "the server's certificate is verified"
        protocol = "SMTP over TLS" if config.smtp.startswith("smtps:") else "SMTP, STARTTLS required"
        hops.append(Hop("Notifications by mail", "out", protocol, "TLS 1.2 or 1.3", peer, True))
    hops += _notifications(config)
    for name, url in (("Database", config.database), ("Keyring", config.keyring)):
        if url != "sqlite":
            hops.append(_database(name, url))
    hops += [_provider(name, all(settings)) for name, settings in _providers(config) if any(settings)]
    if config.fhir_url:
        peer = "the server's certificate is verified; it knows us by a token"
        says = "signed phone notes with the words of their messages, of practices that allowed it on record"
        hops.append(Hop("Record system", "out", "HTTPS", "TLS 1.2 or 1.3", peer, True, says=says))
    kind = config.key_provider.partition(":")[0]
    if kind != "file":
        peer = "the service's certificate is verified"
        hops.append(Hop(f"Key service ({kind})", "out", "HTTPS", "TLS 1.2 or 1.3", peer, True))
    return hops


def _notifications(config: Config) -> list[Hop]:
    """Ways to staff beside mail. None carries a patient's data, so that what follows the first hop may be in the clear."""
    hops: list[Hop] = []
    versions, fixed = "TLS 1.2 or 1.3", "fixed words and a link"
    if config.sms:
        peer = "the provider's certificate is verified; its receipts are signed"
        says = f"{fixed}; in the clear over the telephone networks after that"
        hops.append(
            Hop(f"Text messages by {config.sms.title()}", "out", "HTTPS", versions, peer, True, says=says)
        )
    used = Contact.objects.exclude(verified_at=None).filter(ended_at=None)
    if used.filter(kind=ContactKind.PUSH).exists():
        peer = "the push service's certificate is verified; we sign"
        says = "an empty message: the words are in the page already"
        hops.append(Hop("Push to browsers", "out", "HTTPS", versions, peer, True, says=says))
    others = used.filter(kind=ContactKind.OTHER).values_list("address", flat=True)
    names = sorted({address.partition(":")[0].lower() for address in others})
    if names:
        says = f"{fixed}; how it travels after that is the practice's choice"
        peer = "the service's certificate is verified"
        hops.append(
            Hop(f"Other services ({', '.join(names)})", "out", "HTTPS", versions, peer, True, says=says)
        )
    return hops


def _providers(config: Config) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each with the settings that it needs, all of them."""
    return (
        ("Twilio", (config.twilio_account, config.twilio_token)),
        ("Telnyx", (config.telnyx_public_key, config.telnyx_api_key)),
    )


def _provider(name: str, whole: bool) -> Hop:
    """A carrier by webhook: the call itself runs there, and its sound comes to us afterwards."""
    peer = "the provider's certificate is verified; what it sends us is signed"
    if not whole:
        says = "half set up: the settings name two secrets, and one of them is missing"
        return Hop(
            f"Calls by {name}'s webhook", "out", "HTTPS", "TLS 1.2 or 1.3", peer, True, ok=False, says=says
        )
    says = "the provider records these calls; its copy is deleted once ours is verified"
    return Hop(f"Calls by {name}'s webhook", "out", "HTTPS", "TLS 1.2 or 1.3", peer, True, says=says)


def _database(name: str, url: str) -> Hop:
    """Only what stands in the address is believed: a server may offer TLS and lose it again."""
    parts = urlsplit(url)
    mode = parse_qs(parts.query).get("sslmode", [""])[0]
    hop = Hop(name, "out", "PostgreSQL", "none", "password", False, ok=False)
    if _of_this_machine(parts.hostname or ""):
        return replace(hop, ok=True, says="nothing leaves this machine", word="On this machine")
    if mode in _VERIFIED:
        peer = "certificate verified" if mode != "require" else "password; its certificate is not verified"
        return replace(hop, encrypted=True, ok=True, versions="TLS", peer=peer, says=f"sslmode={mode}")
    return replace(hop, says="add ?sslmode=verify-full to the address in the settings")


def _of_this_machine(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def as_dicts(hops: list[Hop]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(hop) | {"certificate_names": list(hop.certificate_names)} for hop in hops]


def bundle(hops: list[Hop], states: Mapping[str, Mapping[str, Any]], now: datetime) -> dict[str, Any]:
    """The section in_transit of the evidence. states: what phones say of trunks. share: calls of 30 days."""
    share = encrypted_share.share(now)
    return {
        "at": iso(now),
        "ok": all(hop.ok for hop in hops),
        "in_transit": as_dicts(hops),
        "refused_unencrypted": sum(int(state.get("refused_plain", 0)) for state in states.values()),
        "calls": {
            "days": encrypted_share.DAYS,
            "since": share.since,
            "encrypted": share.encrypted,
            "plain": share.plain,
            "percent_encrypted": share.percent,
        },
    }
