import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.core.capture import Codec
from nightbell.sip.sdp import AudioOffer, NotAcceptable, build_answer, build_offer, parse

HEAD = "v=0\r\no=- 12 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
PLAIN = HEAD + "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"


def offer(text: str) -> AudioOffer:
    return parse(text.encode())


def test_it_reads_a_plain_offer() -> None:
    got = offer(PLAIN)
    assert got.remote == ("192.0.2.1", 4000)
    assert got.codecs == ((0, Codec.PCMU), (8, Codec.PCMA))
    assert (got.dtmf_type, got.direction, got.ptime, got.held) == (101, "sendrecv", 20, False)
    assert (got.session_id, got.version) == (12, 3)


def test_it_answers_with_one_codec_under_the_offered_numbers() -> None:
    text = (
        HEAD + "m=audio 4000 RTP/AVP 96 8 97\r\na=rtpmap:96 PCMU/8000\r\na=rtpmap:97 telephone-event/8000\r\n"
    )
    answer = build_answer(offer(text), ("127.0.0.1", 5004), Codec.PCMU, 77)
    assert b"m=audio 5004 RTP/AVP 96 97\r\n" in answer
    got = parse(answer)
    assert (got.codecs, got.dtmf_type, got.session_id) == (((96, Codec.PCMU),), 97, 77)


def test_it_refuses_every_other_medium_in_its_place() -> None:
    text = (
        HEAD
        + "m=video 9 RTP/AVP 31\r\nm=audio 4000 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 8\r\nm=image 1 udptl t38\r\n"
    )
    answer = build_answer(offer(text), ("127.0.0.1", 5004), Codec.PCMA, 1).decode()
    media = [line for line in answer.split("\r\n") if line.startswith("m=")]
    assert media == [
        "m=video 0 RTP/AVP 31",
        "m=audio 0 RTP/SAVP 0",
        "m=audio 5004 RTP/AVP 8",
        "m=image 0 udptl t38",
    ]


def test_it_reads_its_own_offer_in_both_families() -> None:
    for address in ("127.0.0.1", "::1"):
        got = parse(build_offer((address, 6000), (Codec.PCMA, Codec.PCMU), 5))
        assert got.remote == (address, 6000)
        assert [codec for _, codec in got.codecs] == [Codec.PCMA, Codec.PCMU]


@pytest.mark.parametrize(
    ("theirs", "ours"), [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")]
)
def test_it_mirrors_the_direction(theirs: str, ours: str) -> None:
    got = offer(PLAIN + f"a={theirs}\r\n")
    assert got.held is (theirs != "recvonly")
    assert f"a={ours}\r\n".encode() in build_answer(got, ("127.0.0.1", 1), Codec.PCMU, 1)


def test_it_knows_the_old_way_of_holding() -> None:
    assert offer(PLAIN.replace("192.0.2.1\r\nt=", "0.0.0.0\r\nt=")).held


def test_a_medium_may_have_its_own_address_and_direction() -> None:
    got = offer(HEAD + "a=inactive\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\na=sendrecv\r\n")
    assert (got.address, got.direction) == ("2001:db8::1", "sendrecv")


def test_bare_newlines_are_read() -> None:
    assert offer(PLAIN.replace("\r\n", "\n")).port == 4000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=1\r\n",
        HEAD,
        HEAD + "m=video 9 RTP/AVP 31\r\n",
        HEAD + "m=audio 0 RTP/AVP 0\r\n",
        HEAD + "m=audio 99999 RTP/AVP 0\r\n",
        HEAD + "m=audio x RTP/AVP 0\r\n",
        HEAD + "m=audio ² RTP/AVP 0\r\n",
        HEAD + "m=audio 4000 RTP/SAVP 0\r\n",
        HEAD + "m=audio 4000 RTP/AVP 9 96\r\na=rtpmap:96 opus/48000/2\r\n",
        HEAD + "m=audio 4000\r\n",
        HEAD.replace("192.0.2.1\r\nt=", "host.example\r\nt=") + "m=audio 4000 RTP/AVP 0\r\n",
        HEAD.replace("192.0.2.1\r\nt=", "224.0.0.1\r\nt=") + "m=audio 4000 RTP/AVP 0\r\n",
        HEAD.replace("192.0.2.1\r\nt=", "255.255.255.255\r\nt=") + "m=audio 4000 RTP/AVP 0\r\n",
        HEAD.replace("c=IN IP4 192.0.2.1", "c=IN IP4") + "m=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\no=- 1\r\nm=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\nm=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\nnonsense\r\n",
        PLAIN + "m=audio 1 RTP/AVP 0\r\n" * 20,
        HEAD + "m=audio 4000 RTP/AVP" + " 0" * 100 + "\r\n",
        PLAIN + "a=x\r\n" * 600,
        PLAIN + "a=" + "x" * 17000 + "\r\n",
    ],
)
def test_it_refuses_what_it_cannot_use(text: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        offer(text)
    assert refused.value.code == 488
    assert refused.value.reason


def test_it_does_not_answer_with_a_codec_that_was_not_offered() -> None:
    with pytest.raises(NotAcceptable):
        build_answer(offer(HEAD + "m=audio 4000 RTP/AVP 8\r\n"), ("127.0.0.1", 1), Codec.PCMU, 1)


@given(st.text(alphabet="vomca=0123 \r\nINP4audioRT/AV:-.ptmaple", max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        offer("v=0\r\n" + text)
    except NotAcceptable:
        return
