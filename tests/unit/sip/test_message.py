from pathlib import Path
from urllib.parse import unquote

import pytest
import sipmessage
from hypothesis import given
from hypothesis import strategies as st

from nightbell.sip.grammar import parse_address, parse_params, parse_uri, parse_via, printable, split
from nightbell.sip.message import (
    BadMessage,
    Request,
    Response,
    build_request,
    build_response,
    listed,
    mark_via,
    parse,
)

CORPUS = Path(__file__).parents[2] / "vectors" / "rfc4475"
INVITE = (
    b"INVITE sip:line@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKa;rport\r\n"
    b'From: "A, B" <sip:alice@127.0.0.1>;tag=1\r\nTo: <sip:line@127.0.0.1>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n'
    b"Contact: <sip:alice@127.0.0.1:5099>\r\nMax-Forwards: 70\r\nContent-Length: 3\r\n\r\nabc"
)
# RFC 4475 §3.1.2: invalid, to be refused with 400 (505 for the version); a silent one is a response.
INVALID = {
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": None,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "regbadct": 400,
    "badaspec": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": None,
    "insuf": 400,
    "multi01": 400,
    "mcl01": 400,
}
NAMES = sorted(path.stem for path in CORPUS.glob("*.dat"))


def vector(name: str) -> bytes:
    return (CORPUS / f"{name}.dat").read_bytes()


def test_the_whole_corpus_is_here() -> None:
    assert len(NAMES) == 49
    assert set(INVALID) <= set(NAMES)


@pytest.mark.parametrize("name", sorted(INVALID))
def test_it_refuses_the_invalid_messages_of_the_rfc(name: str) -> None:
    with pytest.raises(BadMessage) as refused:
        parse(vector(name))
    code = INVALID[name]
    assert refused.value.reply is None if code is None else refused.value.code == code
    if code is not None:
        assert refused.value.reply is not None
        assert refused.value.reply.startswith(b"SIP/2.0 %d " % code)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in INVALID])
def test_it_reads_the_valid_messages_of_the_rfc(name: str) -> None:
    assert isinstance(parse(vector(name)), (Request, Response))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in INVALID])
def test_it_agrees_with_another_parser(name: str) -> None:
    """sipmessage is the oracle wherever it can read the message (it cannot unfold lines, for one)."""
    try:
        theirs = sipmessage.Message.parse(vector(name))
        tag, branch = theirs.from_address.parameters.get("tag"), theirs.via[0].parameters.get("branch")
        sequence = theirs.cseq
    except ValueError:
        return
    ours = parse(vector(name))
    # sipmessage unescapes %66 in a branch; the RFC compares it as it is, and so do we.
    assert (ours.sender.tag or None, unquote(ours.via.branch) or None) == (tag, branch)
    assert (ours.cseq.number, ours.cseq.method) == (sequence.sequence, sequence.method)


def test_it_reads_the_tortuous_invite() -> None:
    message = parse(vector("wsinv"))
    assert isinstance(message, Request)
    assert message.sender.display == 'J Rosenberg \\"'
    assert (message.to.tag, message.cseq.number, message.via.host) == ("1918181833n", 9, "192.0.2.2")
    assert [parse_via(v).transport for v in listed(message.headers, "via")] == ["UDP", "TCP", "UDP"]
    assert len(message.body) == 150


def test_it_reads_a_request() -> None:
    message = parse(INVITE)
    assert isinstance(message, Request)
    assert (message.uri.user, message.sender.display, message.body) == ("line", "A, B", b"abc")


def test_a_response_echoes_the_request_and_adds_a_tag() -> None:
    message = parse(INVITE)
    response = parse(
        build_response(200, message.headers, "mine", (("Contact", "<sip:x@127.0.0.1>"),), b"v=0\r\n")
    )
    assert isinstance(response, Response)
    assert (response.to.tag, response.sender.tag, response.via.branch) == ("mine", "1", "z9hG4bKa")
    assert response.body == b"v=0\r\n"


def test_a_response_says_where_the_request_came_from() -> None:
    marked = mark_via(parse(INVITE).headers, "127.0.0.9", 6000)
    assert marked["via"] == ["SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKa;rport=6000;received=127.0.0.9"]
    other = parse(INVITE.replace(b";rport", b""))
    assert mark_via(other.headers, "127.0.0.1", 6000)["via"] == other.headers["via"]


def test_a_request_is_read_as_built() -> None:
    lines = [
        ("Via", "SIP/2.0/TCP h;branch=z9hG4bK1"),
        ("From", "<sip:a@h>;tag=1"),
        ("To", "<sip:b@h>"),
        ("Call-ID", "c"),
    ]
    message = parse(build_request("BYE", "sip:b@h", [*lines, ("CSeq", "2 BYE")]))
    assert isinstance(message, Request)
    assert (message.method, message.via.transport) == ("BYE", "TCP")


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        INVITE.replace(b"CSeq: 7", b"CSeq: -7"),
        INVITE.replace(b"Call-ID: c1", b"Call-ID: c1\nX: y"),
        INVITE.replace(b"Call-ID: c1", b"Call-ID: "),
        INVITE.replace(b"5099>", b"99999>"),
        INVITE.replace(b"70\r\n", b"70\r\n" + b"X: y\r\n" * 300),
        INVITE.replace(b"70\r\n", b"70\r\nX: " + b"y" * 9000 + b"\r\n"),
        INVITE + b"x" * 70000,
        INVITE.replace(b"Max-Forwards: 70", b"Max-Forwards: 256"),
        INVITE.replace(b"Max-Forwards: 70", "Max-Forwards: ²".encode()),
    ],
)
def test_it_refuses_other_bad_input(bad: bytes) -> None:
    with pytest.raises(BadMessage):
        parse(bad)


def test_parameter_names_of_the_outside_do_not_break_it() -> None:
    assert parse(INVITE.replace(b";tag=1", b';self=1;cls=2;__init__=3;tag=1;x="a;b"')).sender.tag == "1"


@given(st.binary(max_size=200), st.integers(0, len(INVITE)), st.integers(0, 40))
def test_no_mutation_raises_anything_else(noise: bytes, at: int, cut: int) -> None:
    try:
        parse(INVITE[:at] + noise + INVITE[at + cut :])
    except BadMessage:
        return


def test_an_address_in_a_parameter_is_not_taken_for_the_address() -> None:
    address = parse_address('"Bob" <sip:bob@h>;p="<sip:evil@h>"')
    assert (address.uri.user, address.display) == ("bob", "Bob")


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:alice@example.com", "alice", "example.com", None),
        ("sip:al%69ce:secret@my_host:5070;transport=tcp", "alice", "my_host", 5070),
        ("SIPS:[2001:db8::1]:5061", "", "[2001:db8::1]", 5061),
        ("sip:1;par=u%40h@example.com", "1;par=u@h", "example.com", None),
        ("tel:+1-555-0100;ext=5", "+1-555-0100", "", None),
    ],
)
def test_it_reads_uris(text: str, user: str, host: str, port: int | None) -> None:
    uri = parse_uri(text)
    assert (uri.user, uri.host, uri.port, uri.known) == (user, host, port, True)


@pytest.mark.parametrize(
    "text", ["", "sip:", "sip:a b@h", "<sip:a@h>", "sip:a@h?x=y", "sip:a@h:0", "sip:a@h@i", "x"]
)
def test_it_refuses_bad_uris(text: str) -> None:
    with pytest.raises(ValueError):
        parse_uri(text)


def test_an_unknown_scheme_is_kept_as_such() -> None:
    assert not parse_uri("isbn:2983792873").known


def test_lists_are_split_outside_quotes_and_brackets() -> None:
    assert split('"a,b" <sip:x,y@h>, <sip:z@h>;q="1,2"', ",") == ['"a,b" <sip:x,y@h>', '<sip:z@h>;q="1,2"']
    assert parse_params(';a="x;y";b') == (("a", '"x;y"'), ("b", ""))


def test_a_hostile_length_is_read_in_linear_time() -> None:
    for text in (
        "<sip:" + "a" * 60000,
        "a " * 30000 + "<",
        '"' * 60001,
        "sip:a@" + "a-" * 30000,
        ";a" * 30000,
    ):
        with pytest.raises(ValueError):
            parse_address(text)


def test_remote_text_is_made_harmless() -> None:
    assert printable("a\x00b\r\nc" + "d" * 100) == "abc" + "d" * 61
