"""What may hold a password is not in the text of an object that somebody prints or that stands in a trace."""

from __future__ import annotations

from dataclasses import replace

from nightbell.core.config import load
from nightbell.sip.digest import Credentials, Session, parse_challenge
from nightbell.sip.trunk import Kind, Trunk

SECRET = "5ec4e7" * 6


def test_no_text_of_an_object_holds_a_secret() -> None:
    names = ("NIGHTBELL_SMTP", "NIGHTBELL_TWILIO_TOKEN", "NIGHTBELL_TELNYX_API_KEY", "NIGHTBELL_DATABASE",
             "NIGHTBELL_KEYRING")  # fmt: skip
    settings = load(dict.fromkeys(names, f"postgresql://u:{SECRET}@h/d"))
    trunk = Trunk("01A", "t", Kind.REGISTER, "carrier.example", user="u", ha1={"MD5": SECRET})
    credentials = Credentials("u", "r", {"MD5": SECRET})
    challenge = parse_challenge('Digest realm="r", nonce="n"')
    for one in (settings, trunk, replace(trunk, name="x"), credentials, Session(challenge, "Authorization")):
        assert SECRET not in repr(one) and SECRET not in f"{one}", type(one).__name__
    assert settings.twilio_token.count(SECRET) == 1 and trunk.to_dict()["ha1"] == {"MD5": SECRET}
