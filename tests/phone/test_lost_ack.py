"""A caller whose ACK never comes, as some telephones do it: as long as he speaks he is not cut off."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest
from tests.phone.house import DIALLED, running

from nightbell.sip.rtp import RtpPacket, pack

GIVES_UP = 32.0  # 64*T1 (RFC 3261 §13.3.1.4)


@pytest.mark.slow
def test_it_is_not_cut_off_while_he_speaks(tmp_path: Path) -> None:
    with (
        running(tmp_path) as house,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sip,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sound,
    ):
        for endpoint in (sip, sound):
            endpoint.bind(("127.0.0.1", 0))
        body = (
            f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {sound.getsockname()[1]} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        )
        here = f"127.0.0.1:{sip.getsockname()[1]}"
        sip.sendto(
            f"INVITE sip:{DIALLED}@127.0.0.1:{house.port} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKlost\r\n"
            f"From: <sip:5550100@{here}>;tag=a\r\nTo: <sip:{DIALLED}@127.0.0.1>\r\nCall-ID: lost-ack\r\nCSeq: 1 INVITE\r\n"
            f"Contact: <sip:5550100@{here}>\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode(),
            ("127.0.0.1", house.port),
        )
        sip.settimeout(0.01)
        target, ended, number = None, False, 0
        began = due = time.monotonic()
        while time.monotonic() - began < GIVES_UP + 3 and not ended:
            try:
                text = sip.recv(4096).decode()
            except TimeoutError:
                text = ""
            if text.startswith("SIP/2.0 200"):
                found = re.search(r"m=audio (\d+)", text)
                assert found is not None
                target = ("127.0.0.1", int(found[1]))
            ended = text.startswith("BYE")
            if target is not None and time.monotonic() >= due:
                sound.sendto(
                    pack(RtpPacket(0, False, number & 0xFFFF, number * 160, 7, b"\x55" * 160)), target
                )
                number, due = number + 1, due + 0.02
        assert target is not None
        assert not ended
