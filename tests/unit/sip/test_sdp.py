import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nightbell.core.capture import Codec
from nightbell.sip.sdp import AudioOffer, NotAcceptable, build_answer, build_offer, parse, parse_all
from nightbell.sip.srtp import Fingerprint

CRYPTO = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"
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
        HEAD + "m=audio 4000 RTP/AVP 18 96\r\na=rtpmap:96 opus/16000/2\r\n",
        HEAD + "m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short\r\n",
        HEAD + "m=audio 4000 RTP/SAVP 0\r\na=fingerprint:sha-1 00:11\r\n",
        HEAD + "m=audio 4000 SCTP/RTP 0\r\n",
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


def test_it_reads_every_codec_that_we_have_in_the_callers_order() -> None:
    got = offer(
        HEAD + "m=audio 4000 RTP/AVP 97 9 18 0 101 102\r\na=rtpmap:97 opus/48000/2\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=rtpmap:102 telephone-event/48000\r\n"
    )
    assert got.codecs == ((97, Codec.OPUS), (9, Codec.G722), (0, Codec.PCMU))
    assert [got.dtmf_type_for(codec) for codec in (Codec.OPUS, Codec.G722, Codec.PCMU)] == [102, 101, 101]
    answer = build_answer(got, ("127.0.0.1", 5004), Codec.OPUS, 1)
    assert b"m=audio 5004 RTP/AVP 97 102\r\na=rtpmap:97 opus/48000/2\r\na=fmtp:97 " in answer
    assert b"a=rtpmap:102 telephone-event/48000\r\n" in answer


def test_key_presses_of_another_clock_are_better_than_none() -> None:
    head = HEAD + "m=audio 4000 RTP/AVP 96 120 121\r\na=rtpmap:96 opus/48000/2\r\n"
    got = offer(head + "a=rtpmap:120 telephone-event/16000\r\na=rtpmap:121 telephone-event/8000\r\n")
    assert got.dtmf_type == 121
    assert offer(head + "a=rtpmap:120 telephone-event/16000\r\n").dtmf_type is None


def test_it_reads_its_own_offer_of_every_codec() -> None:
    codecs = (Codec.OPUS, Codec.G722, Codec.PCMU, Codec.PCMA)
    got = parse(build_offer(("127.0.0.1", 6000), codecs, 5))
    assert tuple(codec for _, codec in got.codecs) == codecs
    assert (got.dtmf_type_for(Codec.OPUS), got.dtmf_type_for(Codec.PCMU)) == (102, 101)


def test_the_encrypted_medium_comes_first_and_the_other_is_refused() -> None:
    text = HEAD + "m=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/SAVP 8\r\n" + CRYPTO
    offers = parse_all(text.encode())
    assert [(one.port, one.encrypted) for one in offers] == [(4002, True), (4000, False)]
    media = [
        line
        for line in build_answer(offers[0], ("127.0.0.1", 5004), Codec.PCMA, 1).decode().split("\r\n")
        if line.startswith("m=")
    ]
    assert media == ["m=audio 0 RTP/AVP 0", "m=audio 5004 RTP/SAVP 8"]


@pytest.mark.parametrize(
    "protocol",
    ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"],
)
def test_the_answer_has_the_protocol_of_the_offer(protocol: str) -> None:
    got = offer(HEAD + f"m=audio 4000 {protocol} 0\r\n" + CRYPTO)
    assert got.encrypted is ("SAVP" in protocol)
    assert f"m=audio 5004 {protocol} 0\r\n".encode() in build_answer(got, ("127.0.0.1", 5004), Codec.PCMU, 1)


def test_a_bundle_of_the_audio_alone_and_one_port_for_reports() -> None:
    text = HEAD + "a=group:BUNDLE a1 v1\r\nm=audio 4000 RTP/AVP 0\r\na=mid:a1\r\na=rtcp-mux\r\n"
    answer = build_answer(
        offer(text + "m=video 9 RTP/AVP 31\r\na=mid:v1\r\n"), ("127.0.0.1", 5004), Codec.PCMU, 1
    )
    for line in (b"a=group:BUNDLE a1\r\n", b"a=mid:a1\r\n", b"a=rtcp-mux\r\n"):
        assert line in answer
    alone = build_answer(offer(HEAD + "m=audio 4000 RTP/AVP 0\r\na=mid:a1\r\n"), ("::1", 5004), Codec.PCMU, 1)
    assert b"a=mid" not in alone
    assert b"a=group" not in alone
    assert b"rtcp-mux" not in alone
    assert b"c=IN IP6 ::1\r\n" in alone


def test_fingerprint_and_setup_may_stand_before_the_media() -> None:
    prints = ":".join(["AB"] * 32)
    text = (
        HEAD
        + f"a=fingerprint:SHA-256 {prints.lower()}\r\na=setup:actpass\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n"
    )
    got = offer(text)
    assert got.fingerprints == (Fingerprint("sha-256", b"\xab" * 32),)
    assert got.setup == "actpass"
    own = offer(text + f"a=setup:active\r\na=fingerprint:sha-512 {':'.join(['CD'] * 64)}\r\n")
    assert ([one.algorithm for one in own.fingerprints], own.setup) == (["sha-512"], "active")


_LINES = st.sampled_from([
    "m=audio 4000 RTP/AVP 0 8 9 96 101", "m=audio 4002 RTP/SAVP 0 101", "m=audio 4004 UDP/TLS/RTP/SAVPF 96 0 102",
    "m=video 9 RTP/AVP 31", "m=audio 0 RTP/SAVP 0", "m=image 4 udptl t38", "m=", "m=audio", "c=IN IP6 ::1",
    "c=IN IP4 0.0.0.0", "c=IN IP4 x", "a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000",
    "a=rtpmap:102 telephone-event/48000", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40,
    "a=crypto:2 AEAD_AES_128_GCM inline:x|2^99", "a=fingerprint:sha-256 " + ":".join(["0F"] * 32),
    "a=fingerprint:sha-256 zz", "a=setup:actpass", "a=setup:holdconn", "a=setup:active", "a=rtcp-mux", "a=mid:1",
    "a=group:BUNDLE 1 2", "a=group:", "a=sendonly", "a=ptime:30", "a=ptime:-1", "b=AS:64", "a=", "=",
])  # fmt: skip


@example(["m=", "m=audio 4000 RTP/AVP 0"])
@given(st.lists(st.one_of(_LINES, st.text(max_size=40)), max_size=12))
def test_every_answer_can_be_read_and_mirrors_the_media(lines: list[str]) -> None:
    try:
        got = offer(HEAD + "\r\n".join(lines) + "\r\n")
    except NotAcceptable:
        return
    codec = got.codecs[0][1]
    data = build_answer(got, ("192.0.2.9", 5004), codec, 1)
    media = [line[2:].split(" ", 2) for line in data.decode().split("\r\n") if line.startswith("m=")]
    kinds, ports = [one[0] for one in media], [one[1] for one in media]
    assert kinds == [(*line.split(), "")[0] for line in got.media]
    assert ports == ["5004" if at == got.index else "0" for at in range(len(media))]
    if not got.encrypted:
        assert parse(data).codecs == ((got.payload_type(codec), codec),)
