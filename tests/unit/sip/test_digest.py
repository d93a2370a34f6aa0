"""Digest answers against the vectors of the RFCs, and what is not answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.sip.digest import (
    ALGORITHMS,
    Challenge,
    Credentials,
    Refusal,
    Session,
    answer,
    believed,
    challenged,
    challenges,
    ha1,
    parse_challenge,
    parse_params,
)

MUFASA = {name: ha1(name, "Mufasa", "http-auth@example.org", "Circle of Life") for name in ALGORITHMS}
REALM = Credentials("Mufasa", "http-auth@example.org", MUFASA)
# RFC 7616 §3.9.1
OFFER = [
    f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={name}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    for name in ("SHA-256", "MD5")
]
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def told(header: tuple[str, str]) -> dict[str, str]:
    return parse_params(header[1].removeprefix("Digest "))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(name: str, expected: str) -> None:
    session = challenged(
        401, {"www-authenticate": OFFER}, Credentials("Mufasa", REALM.realm, {name: MUFASA[name]}), None
    )
    assert isinstance(session, Session)
    after, header = answer(session, REALM, "GET", "/dir/index.html", CNONCE)
    fields = told(header)
    assert header[0] == "Authorization"
    assert (fields["response"], fields["nc"], fields["qop"], fields["algorithm"]) == (
        expected,
        "00000001",
        "auth",
        name,
    )
    assert fields["opaque"] == "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
    assert answer(after, REALM, "GET", "/dir/index.html", CNONCE)[0].count == 2


def test_the_hash_that_rfc_8760_adds() -> None:
    # Of FIPS 180-4's SHA-512/256, not of a SHA-512 cut short (erratum 4897 to RFC 7616).
    from nightbell.sip.digest import _digest

    assert _digest("SHA-512-256", "abc") == "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"


def test_the_example_of_rfc_2617_and_its_elder_without_qop() -> None:
    realm = "testrealm@host.com"
    secret = Credentials("Mufasa", realm, {"MD5": ha1("MD5", "Mufasa", realm, "Circle Of Life")})
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    new = Session(Challenge(realm, nonce, qop=("auth", "auth-int")), "Authorization")
    assert (
        told(answer(new, secret, "GET", "/dir/index.html", "0a4f113b")[1])["response"]
        == "6629fae49393a05397450978507c4ef1"
    )
    old = told(
        answer(Session(Challenge(realm, nonce), "Authorization"), secret, "GET", "/dir/index.html", "x")[1]
    )
    assert old["response"] == "670fd8c2df070c60b045671b8b24ff02"
    assert not {"qop", "nc", "cnonce", "opaque"} & set(old)


def test_the_best_algorithm_that_we_have_wins() -> None:
    headers = {"www-authenticate": OFFER}
    best = challenged(401, headers, REALM, None)
    assert isinstance(best, Session) and best.challenge.algorithm == "SHA-256"
    old = challenged(401, headers, Credentials("Mufasa", REALM.realm, {"MD5": "0" * 32}), None)
    assert isinstance(old, Session) and old.challenge.algorithm == "MD5"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('Digest realm="other", nonce="n"', Refusal.REALM),
        ('Digest realm="http-auth@example.org", nonce="n", algorithm=MD5-sess', Refusal.ALGORITHM),
        ('Digest realm="http-auth@example.org", nonce="n", algorithm=SHA-3', Refusal.ALGORITHM),
        ('Digest realm="http-auth@example.org", nonce="n", qop="auth-int"', Refusal.ALGORITHM),
        ('Basic realm="http-auth@example.org"', Refusal.CHALLENGE),
        ('Digest realm="http-auth@example.org, nonce="n"', Refusal.CHALLENGE),
        ("Digest realm=http-auth, nonce=", Refusal.CHALLENGE),
        ('Digest realm="http-auth@example.org", realm="x", nonce="n"', Refusal.CHALLENGE),
        ("", Refusal.CHALLENGE),
    ],
)
def test_what_is_not_answered(line: str, why: Refusal) -> None:
    assert challenged(401, {"www-authenticate": [line]}, REALM, None) is why
    assert challenged(407, {"www-authenticate": [line]}, REALM, None) is Refusal.CHALLENGE


def test_a_password_is_tried_once_a_nonce() -> None:
    def offer(nonce: str, more: str = "") -> dict[str, list[str]]:
        return {"www-authenticate": [f'Digest realm="{REALM.realm}", nonce="{nonce}"{more}']}

    first = challenged(401, offer("a"), REALM, None)
    assert isinstance(first, Session)
    sent, _ = answer(first, REALM, "REGISTER", "sip:h", "c")
    assert challenged(401, offer("a"), REALM, sent) is Refusal.PASSWORD
    assert challenged(401, offer("b"), REALM, sent) is Refusal.PASSWORD
    assert challenged(401, offer("a", ", stale=true"), REALM, sent) is Refusal.PASSWORD
    again = challenged(401, offer("b", ", stale=TRUE"), REALM, sent)
    assert isinstance(again, Session) and again.challenge.nonce == "b"
    # From memory: the nonce may have run out without that being said.
    later, _ = answer(believed(sent, {}), REALM, "REGISTER", "sip:h", "c")
    assert later.count == 2
    assert isinstance(challenged(401, offer("c"), REALM, later), Session)


def test_the_next_nonce_is_taken_over() -> None:
    session = Session(Challenge("r", "a", qop=("auth",)), "Authorization", 3)
    after = believed(session, {"authentication-info": ['nextnonce="b", qop=auth, rspauth="x"']})
    assert (after.challenge.nonce, after.count, after.proven) == ("b", 0, True)
    assert believed(session, {"authentication-info": ['nextnonce="b']}).challenge.nonce == "a"


def test_a_hashed_user_name() -> None:
    session = Session(Challenge("r", "n", "SHA-256", ("auth",), userhash=True), "Authorization")
    fields = told(answer(session, Credentials("u", "r", {"SHA-256": "00"}), "REGISTER", "sip:h", "c")[1])
    assert fields["userhash"] == "true"
    assert (
        fields["username"]
        == ha1("SHA-256", "u", "r", "")[:0] + __import__("hashlib").sha256(b"u:r").hexdigest()
    )


def test_quotes_go_through_both_ways() -> None:
    challenge = parse_challenge(r'Digest realm="a \"b\" \\ c", nonce="n"')
    assert challenge.realm == r'a "b" \ c'
    secret = Credentials("u", challenge.realm, {"MD5": "00"})
    fields = told(answer(Session(challenge, "Authorization"), secret, "REGISTER", "sip:h", "c")[1])
    assert fields["realm"] == challenge.realm


@given(st.text(max_size=200) | st.text(alphabet='Digestrealm="\\, nc', max_size=80))
def test_nothing_breaks_the_reading(text: str) -> None:
    for line in (text, f"Digest {text}", f'Digest realm="{text}", nonce="n"'):
        for one in challenges([line]):
            assert one.nonce
            header = (
                answer(
                    Session(one, "Authorization"),
                    Credentials("u", one.realm, {one.algorithm: "0"}),
                    "A",
                    "sip:h",
                    "c",
                )[1]
                if one.algorithm in ALGORITHMS
                else ("", "")
            )
            assert "\r" not in header[1] and "\n" not in header[1]
