"""Digest authentication as a client (RFC 7616, RFC 8760, RFC 2617, RFC 3261 §22): from HA1 alone, never from a password.

What is not done: algorithms with `-sess` (they need the password's hash anew for every session) and `auth-int`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from cryptography.hazmat.primitives import hashes

from nightbell.sip.grammar import TOKEN
from nightbell.sip.message import Headers

# Best first: what is left of a challenge that offers several is the first for which we have HA1.
ALGORITHMS = ("SHA-512-256", "SHA-256", "MD5")
MAX_LINE = 4_096
MAX_CHALLENGES = 8
_NAME = re.compile(r"[ \t]*([A-Za-z0-9\-.!%*_+`'~]{1,40})[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*)"[ \t]*')
_BARE = re.compile(r"([A-Za-z0-9\-.!%*_+`'~/:=]+)[ \t]*")
_ESCAPE = re.compile(r"\\(.)")


class Refusal(StrEnum):
    """Why a challenge cannot be answered, or was answered in vain."""

    NONE = ""
    REALM = "realm"  # it is in the name of somebody whom our password is not for
    ALGORITHM = "algorithm"  # we have HA1 for none of its algorithms, or it wants what we do not do
    PASSWORD = "password"  # noqa: S105 - our answer was not believed
    CHALLENGE = "challenge"  # it is malformed, or there is none


@dataclass(frozen=True, slots=True)
class Credentials:
    """ha1: {algorithm: hex}. realm: the only one that gets an answer."""

    user: str
    realm: str
    ha1: Mapping[str, str] = field(repr=False)

    @staticmethod
    def of(user: str, realm: str, password: str) -> Credentials:
        """For whoever has the password itself."""
        return Credentials(user, realm, {name: ha1(name, user, realm, password) for name in ALGORITHMS})


@dataclass(frozen=True, slots=True)
class Challenge:
    """algorithm: one of ALGORITHMS, or another's name as sent; qop: what is offered, () for RFC 2617 without; opaque: None for none."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    userhash: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """What is remembered between requests to one side: its challenge, and how often its nonce was used (nc).

    header: 'Authorization' or 'Proxy-Authorization'. proven: an answer to this nonce was believed.
    """

    challenge: Challenge
    header: str
    count: int = 0
    proven: bool = False


def ha1(algorithm: str, user: str, realm: str, password: str) -> str:
    """H(user ":" realm ":" password) in hex (RFC 7616 §3.4.2). Raises ValueError for an algorithm not in ALGORITHMS."""
    return _digest(algorithm, f"{user}:{realm}:{password}")


def _digest(algorithm: str, text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    if algorithm == "MD5":  # nothing rests on it but an old carrier's habit
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    if algorithm == "SHA-256":
        return hashlib.sha256(data).hexdigest()
    if algorithm == "SHA-512-256":
        hasher = hashes.Hash(hashes.SHA512_256())
        hasher.update(data)
        return hasher.finalize().hex()
    raise ValueError("an algorithm that we do not have")


def parse_params(text: str) -> dict[str, str]:
    """`name=value, name="quoted"` with names in lower case. Raises ValueError: also for a name that stands twice."""
    if len(text) > MAX_LINE:
        raise ValueError("too long")
    found: dict[str, str] = {}
    at = 0
    while True:
        name = _NAME.match(text, at)
        if name is None:
            raise ValueError("a parameter is malformed")
        value = _QUOTED.match(text, name.end()) or _BARE.match(text, name.end())
        if value is None or name[1].lower() in found:
            raise ValueError("a parameter is malformed or stands twice")
        found[name[1].lower()] = _ESCAPE.sub(r"\1", value[1]) if value[0][0] == '"' else value[1]
        at = value.end()
        if at == len(text):
            return found
        if text[at] != ",":
            raise ValueError("a comma is missing")
        at += 1


def parse_challenge(line: str) -> Challenge:
    """One WWW-Authenticate or Proxy-Authenticate value. Raises ValueError for another scheme and for anything malformed."""
    scheme, _, rest = line.strip().partition(" ")
    if scheme.lower() != "digest":
        raise ValueError("not Digest")
    params = parse_params(rest)
    if "realm" not in params or not params.get("nonce"):
        raise ValueError("realm or nonce is missing")
    named = params.get("algorithm", "MD5")
    if not TOKEN.match(named):
        raise ValueError("its algorithm is no word")
    known = {one.lower(): one for one in ALGORITHMS}
    qop = tuple(word.strip().lower() for word in params.get("qop", "").split(",") if word.strip())
    return Challenge(
        realm=params["realm"],
        nonce=params["nonce"],
        algorithm=known.get(named.lower(), named),
        qop=qop,
        opaque=params.get("opaque"),
        stale=params.get("stale", "").lower() == "true",
        userhash=params.get("userhash", "").lower() == "true",
    )


def challenges(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """Those that are well-formed, in their order, at most MAX_CHALLENGES looked at. Never raises."""
    found = []
    for line in list(lines)[:MAX_CHALLENGES]:
        try:
            found.append(parse_challenge(line))
        except ValueError:
            continue
    return tuple(found)


def offered(headers: Headers, code: int) -> tuple[Challenge, ...]:
    """The challenges of a 401 or 407."""
    return challenges(headers.get("proxy-authenticate" if code == 407 else "www-authenticate", []))


def choose(offer: Iterable[Challenge], credentials: Credentials) -> Challenge | Refusal:
    """The challenge with the best algorithm that we have HA1 for (RFC 8760 §2.4: our policy, not their order)."""
    offer = tuple(offer)
    if not offer:
        return Refusal.CHALLENGE
    ours = [one for one in offer if one.realm == credentials.realm]
    if not ours:
        return Refusal.REALM
    for algorithm in ALGORITHMS:
        for one in ours:
            if (
                one.algorithm == algorithm
                and algorithm in credentials.ha1
                and (not one.qop or "auth" in one.qop)
            ):
                return one
    return Refusal.ALGORITHM


def header_for(code: int) -> str:
    """In which header a 401 or 407 wants its answer."""
    return "Proxy-Authorization" if code == 407 else "Authorization"


def challenged(
    code: int, headers: Headers, credentials: Credentials, before: Session | None
) -> Session | Refusal:
    """What to do about a 401 or 407: the session to answer in, or why not.

    before: the session in which the refused request was sent, None for none. A nonce is tried once: a second challenge
    is answered only if it says `stale`, or if the first answer was from memory, with a nonce that may have run out.
    That a server says `stale` for ever is for the caller to bound.
    """
    chosen = choose(offered(headers, code), credentials)
    if isinstance(chosen, Refusal):
        return chosen
    header = header_for(code)
    asked_again = before is not None and before.header == header and before.count > 0 and not before.proven
    if before is not None and asked_again and (not chosen.stale or chosen.nonce == before.challenge.nonce):
        return Refusal.PASSWORD
    return Session(chosen, header)


def believed(session: Session, headers: Headers) -> Session:
    """The session after a request that was taken: with the nonce that the other side wants next (RFC 7616 §3.5)."""
    name = "proxy-authentication-info" if session.header.startswith("Proxy") else "authentication-info"
    session = replace(session, proven=True)
    try:
        nonce = parse_params(headers[name][0]).get("nextnonce", "")
    except (KeyError, IndexError, ValueError):
        return session
    if not nonce:
        return session
    return replace(session, challenge=replace(session.challenge, nonce=nonce), count=0)


def answer(
    session: Session, credentials: Credentials, method: str, uri: str, cnonce: str
) -> tuple[Session, tuple[str, str]]:
    """The header line for the next request, and the session after it. uri: the Request-URI; cnonce: fresh, hex.

    Raises KeyError when `session` was not made by `challenged` with these credentials.
    """
    challenge, count = session.challenge, session.count + 1
    secret = credentials.ha1[challenge.algorithm]
    ha2 = _digest(challenge.algorithm, f"{method}:{uri}")
    user = credentials.user
    if challenge.userhash:
        user = _digest(challenge.algorithm, f"{user}:{challenge.realm}")
    fields = [
        f"username={_quote(user)}",
        f"realm={_quote(challenge.realm)}",
        f"nonce={_quote(challenge.nonce)}",
        f"uri={_quote(uri)}",
    ]
    middle = f"{challenge.nonce}"
    if challenge.qop:
        middle += f":{count:08x}:{cnonce}:auth"
        fields += [f'cnonce="{cnonce}"', f"nc={count:08x}", "qop=auth"]
    fields.append(f'response="{_digest(challenge.algorithm, f"{secret}:{middle}:{ha2}")}"')
    fields.append(f"algorithm={challenge.algorithm}")
    if challenge.opaque is not None:
        fields.append(f"opaque={_quote(challenge.opaque)}")
    if challenge.userhash:
        fields.append("userhash=true")
    return replace(session, count=count), (session.header, "Digest " + ", ".join(fields))


def _quote(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
