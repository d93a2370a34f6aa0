"""Which protection of the sound two sides agree on."""

from dataclasses import replace

import pytest

from nightbell.core.capture import Codec
from nightbell.sip import negotiation
from nightbell.sip.negotiation import Terms, choose, propose, settle
from nightbell.sip.sdp import AudioOffer, NotAcceptable, build_answer, build_offer, parse, parse_all
from nightbell.sip.srtp import PLAIN, PROPOSED, Fingerprint, Keying, Security

OURS, THEIRS = Fingerprint("sha-256", b"o" * 32), Fingerprint("sha-256", b"t" * 32)
OPEN = Terms(plain=True, private=False, ours=OURS)
LOCAL = Terms(plain=True, private=True, ours=OURS)
TLS = Terms(plain=False, private=True, ours=OURS)
STRICT = Terms(plain=False, private=False, ours=OURS)
HEAD = "v=0\r\no=- 12 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
SDES = (
    "a=crypto:9 F8_128_HMAC_SHA1_80 inline:x\r\na=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:"
    + "A" * 40
    + "\r\n"
)
SDES += "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:" + "B" * 40 + "\r\n"
DTLS = f"a=fingerprint:{THEIRS.line()}\r\na=setup:actpass\r\n"


def offer(protocol: str, *more: str) -> AudioOffer:
    return parse((HEAD + f"m=audio 4000 {protocol} 0\r\n" + "".join(more)).encode())


@pytest.mark.parametrize(
    ("got", "terms", "keying"),
    [
        (offer("RTP/AVP"), OPEN, "none"),
        (offer("RTP/AVP"), LOCAL, "none"),
        (offer("RTP/AVP"), TLS, "encrypted audio is required"),
        (offer("RTP/AVP"), STRICT, "encrypted audio is required"),
        (offer("RTP/SAVP", SDES), OPEN, "sdes"),
        (offer("RTP/SAVP", SDES), LOCAL, "sdes"),
        (offer("RTP/SAVPF", SDES), TLS, "sdes"),
        (offer("RTP/SAVP", SDES), STRICT, "use TLS, or offer DTLS"),
        (offer("RTP/AVP", SDES), OPEN, "sdes"),
        (offer("RTP/AVP", SDES), TLS, "sdes"),
        (offer("RTP/AVP", SDES), STRICT, "use TLS, or offer DTLS"),
        (offer("UDP/TLS/RTP/SAVP", DTLS), OPEN, "dtls"),
        (offer("UDP/TLS/RTP/SAVPF", DTLS), STRICT, "dtls"),
        (offer("RTP/SAVPF", DTLS), TLS, "dtls"),
        (offer("RTP/AVP", DTLS), STRICT, "dtls"),
        (offer("RTP/SAVP", SDES, DTLS), TLS, "sdes"),
        (offer("RTP/SAVP", SDES, DTLS), OPEN, "dtls"),
        (offer("RTP/SAVP", SDES, DTLS), STRICT, "dtls"),
        (offer("UDP/TLS/RTP/SAVP", DTLS.replace("actpass", "holdconn")), OPEN, "offer a=setup:actpass"),
        (offer("RTP/AVP", DTLS.replace("actpass", "holdconn")), OPEN, "none"),
        (offer("RTP/AVP", DTLS.replace("actpass", "holdconn")), TLS, "encrypted audio is required"),
    ],
)
def test_what_is_chosen(got: AudioOffer, terms: Terms, keying: str) -> None:
    if keying in list(Keying):
        assert choose(got, terms).keying == keying
        return
    with pytest.raises(NotAcceptable) as refused:
        choose(got, terms)
    assert keying in refused.value.reason


def test_their_first_line_that_we_have_under_their_tag_with_a_key_of_our_own() -> None:
    got = offer("RTP/SAVP", SDES)
    first, second = choose(got, TLS), choose(got, TLS)
    assert (first.crypto[0].tag, first.crypto[0].suite) == (4, "AES_CM_128_HMAC_SHA1_32")
    assert first.keys is not None
    assert first.keys.theirs == got.crypto[0].key
    assert first.keys.ours == first.crypto[0].key != got.crypto[0].key
    assert second.crypto != first.crypto
    answer = parse(build_answer(got, ("127.0.0.1", 2), Codec.PCMU, 1, security=first))
    assert answer.crypto == first.crypto


@pytest.mark.parametrize(
    ("setup", "ours"), [("actpass", "passive"), ("active", "passive"), ("passive", "active"), ("", "passive")]
)
def test_the_handshake_is_begun_by_whoever_may(setup: str, ours: str) -> None:
    got = replace(offer("UDP/TLS/RTP/SAVP", DTLS), setup=setup)
    agreed = choose(got, STRICT)
    assert (agreed.setup, agreed.fingerprint, agreed.theirs, agreed.keys) == (ours, OURS, (THEIRS,), None)
    answer = build_answer(got, ("127.0.0.1", 2), Codec.PCMU, 1, security=agreed)
    assert f"a=fingerprint:{OURS.line()}\r\na=setup:{ours}\r\n".encode() in answer


def test_of_two_media_the_one_that_may_be_is_taken() -> None:
    both = HEAD + "m=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/SAVP 0\r\n" + SDES
    assert negotiation.best(parse_all(both.encode()), TLS)[0].port == 4002
    assert negotiation.best(parse_all(both.encode()), OPEN)[0].port == 4002
    three = both + "m=audio 4004 UDP/TLS/RTP/SAVP 0\r\n" + DTLS
    assert negotiation.best(parse_all(three.encode()), STRICT)[0].port == 4004
    with pytest.raises(NotAcceptable) as refused:
        negotiation.best(parse_all(both.encode()), STRICT)
    assert "use TLS" in refused.value.reason


def test_a_call_that_is_encrypted_stays_so() -> None:
    for first in (offer("RTP/SAVP", SDES), offer("UDP/TLS/RTP/SAVP", DTLS)):
        current = choose(first, LOCAL)
        with pytest.raises(NotAcceptable) as refused:
            choose(offer("RTP/AVP"), LOCAL, current)
        assert "stays so" in refused.value.reason
    # keys that anyone can read after keys that nobody could: less than before
    with pytest.raises(NotAcceptable):
        choose(offer("RTP/SAVP", SDES), OPEN, choose(offer("UDP/TLS/RTP/SAVP", DTLS), OPEN))
    assert choose(offer("RTP/SAVP", SDES), OPEN, PLAIN).secured  # more is welcome


def test_the_same_key_again_changes_nothing_and_a_new_one_both_directions() -> None:
    current = choose(offer("RTP/SAVP", SDES), TLS)
    assert choose(offer("RTP/SAVP", SDES), TLS, current) == current
    new = choose(offer("RTP/SAVP", SDES.replace("A" * 40, "C" * 40)), TLS, current)
    assert new.keys is not None
    assert current.keys is not None
    assert new.keys.theirs != current.keys.theirs
    assert new.keys.ours != current.keys.ours


def test_the_same_certificate_again_keeps_the_association() -> None:
    current = choose(offer("UDP/TLS/RTP/SAVP", DTLS), STRICT)
    assert choose(offer("UDP/TLS/RTP/SAVP", DTLS), STRICT, current) is current
    assert choose(offer("UDP/TLS/RTP/SAVP", DTLS.replace("actpass", "active")), STRICT, current) is current
    other = DTLS.replace(THEIRS.line(), Fingerprint("sha-256", b"x" * 32).line())
    assert choose(offer("UDP/TLS/RTP/SAVP", other), STRICT, current) is not current
    turned = choose(offer("UDP/TLS/RTP/SAVP", DTLS.replace("actpass", "passive")), STRICT, current)
    assert turned.setup == "active"
    assert choose(offer("RTP/SAVP", SDES, DTLS), LOCAL, current) is current


def our_offer(security: Security) -> AudioOffer:
    return parse(build_offer(("127.0.0.1", 6000), (Codec.PCMU,), 5, security=security))


def test_our_own_offers_are_taken_by_ourselves() -> None:
    sdes, dtls = propose(Keying.SDES, OURS), propose(Keying.DTLS, OURS)
    assert our_offer(sdes).protocol == "RTP/SAVP"
    assert tuple(one.suite for one in our_offer(sdes).crypto) == PROPOSED
    assert our_offer(dtls).protocol == "UDP/TLS/RTP/SAVP"
    for proposed in (sdes, dtls):
        got = our_offer(proposed)
        theirs = choose(got, replace(TLS, ours=THEIRS))
        agreed = settle(proposed, parse(build_answer(got, ("127.0.0.1", 2), Codec.PCMU, 1, security=theirs)))
        if proposed is sdes:
            assert agreed.keys is not None
            assert theirs.keys is not None
            assert (agreed.keys.ours, agreed.keys.theirs) == (theirs.keys.theirs, theirs.keys.ours)
        else:
            assert (theirs.setup, agreed.setup) == ("passive", "active")
            assert (agreed.theirs, theirs.theirs) == ((THEIRS,), (OURS,))


def test_an_answer_must_be_what_was_offered() -> None:
    sdes = propose(Keying.SDES, OURS)
    for answer in (
        offer("RTP/AVP"),
        offer("RTP/SAVP", SDES),
        offer("RTP/SAVP", DTLS),
        offer("RTP/SAVP", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"),
    ):
        with pytest.raises(NotAcceptable):
            settle(sdes, answer)
    with pytest.raises(NotAcceptable):
        settle(propose(Keying.DTLS, OURS), offer("RTP/SAVP", SDES))
    with pytest.raises(NotAcceptable):
        settle(PLAIN, offer("RTP/SAVP", SDES))
    assert settle(PLAIN, offer("RTP/AVP")) is PLAIN


def test_an_offer_that_leaves_it_open_takes_both() -> None:
    """RFC 8643: plain for who knows no better."""
    may = propose(Keying.SDES, OURS, required=False)
    assert our_offer(may).protocol == "RTP/AVP"
    assert settle(may, offer("RTP/AVP")) is PLAIN
    line = "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"
    assert settle(may, offer("RTP/AVP", line)).secured


def test_a_new_offer_of_ours_asks_for_no_less() -> None:
    current = choose(offer("RTP/SAVP", SDES), TLS)
    again = negotiation.again(current)
    assert again.crypto == current.crypto
    assert again.required
    with pytest.raises(NotAcceptable):
        settle(again, offer("RTP/AVP"), current)
    dtls = choose(offer("UDP/TLS/RTP/SAVP", DTLS), STRICT)
    assert negotiation.again(dtls).setup == "actpass"
    kept = settle(negotiation.again(dtls), offer("UDP/TLS/RTP/SAVP", DTLS.replace("actpass", "active")), dtls)
    assert kept is dtls
