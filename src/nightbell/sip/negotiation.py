"""Which protection of the sound two sides agree on (RFC 4568 §7, RFC 5763 §5, RFC 8643). Pure but for fresh keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nightbell.sip.sdp import AudioOffer
from nightbell.sip.sdp_lines import NotAcceptable
from nightbell.sip.srtp import PLAIN, PROFILES, PROPOSED, Crypto, Fingerprint, Keying, Security, SrtpKeys

Fresh = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Terms:
    """What may be agreed on with this peer. plain: sound without encryption, or with keys that somebody can read on their
    way. private: nobody reads the signalling on its way (TLS, or it never leaves this machine). ours: fingerprint of our
    certificate."""

    plain: bool
    private: bool
    ours: Fingerprint


def choose(
    offer: AudioOffer, terms: Terms, current: Security = PLAIN, fresh: Fresh = secrets.token_bytes
) -> Security:
    """Our answer to this offer. current: what the call has by now, which no offer takes back: neither encryption as such,
    nor that its keys were secret. Raises NotAcceptable, with what to offer instead."""
    # RFC 4568 §7: keys in a description that others can read protect nobody.
    readable = bool(offer.crypto) and (terms.plain and current.keying is not Keying.DTLS)
    dtls = bool(offer.fingerprints) and offer.setup != "holdconn"
    if dtls and current.keying is Keying.DTLS:
        return _dtls(offer, terms, current)
    if offer.crypto and terms.private:
        return _sdes(offer, current, fresh)
    if dtls:
        return _dtls(offer, terms, current)
    if readable:
        return _sdes(offer, current, fresh)
    if terms.plain and not offer.encrypted and not current.secured:
        return PLAIN
    raise NotAcceptable(_why(offer, current))


def _why(offer: AudioOffer, current: Security) -> str:
    if current.secured:
        return "this call is encrypted and stays so"
    if offer.crypto:
        return "its keys could be read on their way: use TLS, or offer DTLS-SRTP"
    if offer.encrypted:
        return "its keys are not to be had now: offer a=setup:actpass"
    return "encrypted audio is required: offer RTP/SAVP over TLS, or DTLS-SRTP"


def best(
    offers: Iterable[AudioOffer], terms: Terms, current: Security = PLAIN, fresh: Fresh = secrets.token_bytes
) -> tuple[AudioOffer, Security]:
    """The first of these that can be agreed on, and how. Raises NotAcceptable, for the reason of the first."""
    refused: NotAcceptable | None = None
    for offer in offers:
        try:
            return offer, choose(offer, terms, current, fresh)
        except NotAcceptable as error:
            refused = refused or error
    raise refused or NotAcceptable("it has no media")


def _sdes(offer: AudioOffer, current: Security, fresh: Fresh) -> Security:
    """Their first line that we speak, under its own tag. The same key of theirs again changes nothing; a new one begins both
    directions anew (RFC 4568 §7.1.4), so that both sides count packets from the same moment."""
    theirs = offer.crypto[0]
    known = current.keys
    if known is not None and (known.profile, known.theirs) == (theirs.suite, theirs.key):
        key = known.ours
    else:
        key = fresh(sum(PROFILES[theirs.suite]))
    keys = SrtpKeys(theirs.suite, key, theirs.key)
    return Security(Keying.SDES, (Crypto(theirs.tag, theirs.suite, key),), keys=keys)


def _dtls(offer: AudioOffer, terms: Terms, current: Security) -> Security:
    """We let the other side begin where it lets us choose: an answerer may be passive (RFC 4145 §4), and so nothing goes to
    an address from which nothing came, which anybody may have written there. The same certificate again keeps the
    association and the parts in it (RFC 8842 §5.5)."""
    if current.keying is Keying.DTLS and set(current.theirs) == set(offer.fingerprints):
        kept = {"active": "passive", "passive": "active"}.get(offer.setup, current.setup)
        if kept == current.setup or offer.setup == "":
            return current
    setup = "active" if offer.setup == "passive" else "passive"
    return Security(Keying.DTLS, fingerprint=terms.ours, setup=setup, theirs=offer.fingerprints)


def propose(
    keying: Keying, ours: Fingerprint, required: bool = True, fresh: Fresh = secrets.token_bytes
) -> Security:
    """What an offer of ours says. required: False takes plain sound for an answer too (RFC 8643)."""
    if keying is Keying.SDES:
        crypto = (
            Crypto(tag, suite, fresh(sum(PROFILES[suite]))) for tag, suite in enumerate(PROPOSED, start=1)
        )
        return Security(Keying.SDES, tuple(crypto), required=required)
    if keying is Keying.DTLS:
        return Security(Keying.DTLS, fingerprint=ours, setup="actpass", required=required)
    return PLAIN


def again(current: Security) -> Security:
    """What a new offer of ours within a call says: the same protection, nothing less."""
    if current.keying is Keying.DTLS:
        return replace(current, setup="actpass", required=True)
    return replace(current, required=current.secured)


def settle(offered: Security, answer: AudioOffer, current: Security = PLAIN) -> Security:
    """What the answer to our offer agreed to. Raises NotAcceptable when it is not what was offered (RFC 4568 §5.1.3)."""
    if offered.keying is Keying.SDES and answer.crypto:
        theirs = answer.crypto[0]
        mine = next(
            (one for one in offered.crypto if (one.tag, one.suite) == (theirs.tag, theirs.suite)), None
        )
        if mine is None:
            raise NotAcceptable("it answers with keys that were not offered")
        return Security(Keying.SDES, (mine,), keys=SrtpKeys(mine.suite, mine.key, theirs.key))
    if offered.keying is Keying.DTLS and answer.fingerprints and answer.setup != "holdconn":
        setup = "passive" if answer.setup == "active" else "active"  # unsaid, an answerer waits (RFC 4145 §4)
        agreed = replace(offered, setup=setup, theirs=answer.fingerprints, required=False)
        same = set(current.theirs) == set(answer.fingerprints) and current.setup == setup
        return current if current.keying is Keying.DTLS and same else agreed
    if offered.required or answer.encrypted or current.secured:
        raise NotAcceptable("it answers without the encryption that was offered")
    return PLAIN
