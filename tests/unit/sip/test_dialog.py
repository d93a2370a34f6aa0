from nightbell.sip.dialog import as_uac, as_uas
from nightbell.sip.message import Request, Response, build_response, parse


def invite(extra: str = "", cseq: int = 5) -> Request:
    message = parse(
        (
            f"INVITE sip:line@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n{extra}From: <sip:a@h>;tag=theirs\r\n"
            f"To: <sip:line@h>\r\nCall-ID: c\r\nCSeq: {cseq} INVITE\r\nContact: <sip:a@1.2.3.4:5070;transport=tcp>\r\n\r\n"
        ).encode()
    )
    assert isinstance(message, Request)
    return message


def sent(data: bytes) -> Request:
    message = parse(data)
    assert isinstance(message, Request)
    return message


VIA = "SIP/2.0/UDP us;branch=z9hG4bKy"


def test_the_called_side_speaks_back_along_the_route() -> None:
    dialog = as_uas(invite("Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n"), "ours", "<sip:us>")
    bye = sent(dialog.request("BYE", VIA))
    assert bye.headers["route"] == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert (bye.sender.tag, bye.to.tag, bye.cseq.number) == ("ours", "theirs", 1)
    assert bye.uri.text == "sip:a@1.2.3.4:5070;transport=tcp"
    assert dialog.next_hop().host == "p1"
    assert sent(dialog.request("BYE", VIA)).cseq.number == 2


def test_the_calling_side_turns_the_route_round() -> None:
    routed = invite("Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\n")
    answer = build_response(
        200,
        routed.headers,
        "ours",
        (("Record-Route", "<sip:p1;lr>"), ("Record-Route", "<sip:p2;lr>"), ("Contact", "<sip:line@9.9.9.9>")),
    )
    response = parse(answer)
    assert isinstance(response, Response)
    dialog = as_uac("<sip:a@h>;tag=theirs", "theirs", response, "<sip:a@us>", "sip:line@h")
    ack = sent(dialog.request("ACK", VIA, cseq=5))
    assert ack.headers["route"] == ["<sip:p2;lr>", "<sip:p1;lr>"]
    assert (ack.uri.text, ack.cseq.number, ack.to.tag) == ("sip:line@9.9.9.9", 5, "ours")
    assert sent(dialog.request("BYE", VIA)).cseq.number == 6


def test_a_strict_router_gets_its_own_uri_as_target() -> None:
    dialog = as_uas(invite("Record-Route: <sip:old>, <sip:p2;lr>\r\n"), "ours", "<sip:us>")
    bye = sent(dialog.request("BYE", VIA))
    assert bye.uri.text == "sip:old"
    assert bye.headers["route"] == ["<sip:p2;lr>", "<sip:a@1.2.3.4:5070;transport=tcp>"]


def test_an_older_request_is_not_accepted() -> None:
    dialog = as_uas(invite(), "ours", "<sip:us>")
    assert not dialog.accepts(invite(cseq=5))
    assert dialog.accepts(invite(cseq=7))
    assert not dialog.accepts(invite(cseq=6))


def test_a_new_contact_moves_the_target() -> None:
    dialog = as_uas(invite(), "ours", "<sip:us>")
    other = parse(b"UPDATE" + build_reinvite())
    assert isinstance(other, Request)
    dialog.refresh(other)
    assert dialog.target == "sip:a@5.5.5.5"


def build_reinvite() -> bytes:
    return (
        b" sip:us SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKz\r\nFrom: <sip:a@h>;tag=theirs\r\nTo: <sip:line@h>;tag=ours\r\n"
        b"Call-ID: c\r\nCSeq: 6 UPDATE\r\nContact: <sip:a@5.5.5.5>\r\n\r\n"
    )


def test_a_caller_without_contact_is_spoken_to_at_its_from() -> None:
    old = parse(
        b"INVITE sip:line@h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@7.7.7.7>\r\nTo: <sip:line@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
    )
    assert isinstance(old, Request)
    assert as_uas(old, "ours", "<sip:us>").target == "sip:a@7.7.7.7"
