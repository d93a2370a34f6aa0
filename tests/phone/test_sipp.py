"""SIPp as the caller: a stack that is not ours, over UDP and TCP, with its sound played from a pcap file."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from tests.phone.house import DIALLED, running, sound_of, speech
from tests.ports import free_port

from nightbell.core.capture import Codec, EndReason
from nightbell.phone.wav import frames
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import RtpPacket, pack

SCENARIO = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="leave a message">
<send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "Pat" <sip:5552017300@[local_ip]:[local_port]>;tag=[pid]SIPpTag00[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:5552017300@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=user1 53655765 2353687637 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rtd="true"/>
<send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "Pat" <sip:5552017300@[local_ip]:[local_port]>;tag=[pid]SIPpTag00[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<nop><action><exec play_pcap_audio="PCAP"/></action></nop>
<pause milliseconds="13500"/>
<send retrans="500"><![CDATA[
BYE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "Pat" <sip:5552017300@[local_ip]:[local_port]>;tag=[pid]SIPpTag00[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>
"""


def pcap(path: Path, timed: list[tuple[float, bytes]]) -> Path:
    """A capture file of UDP datagrams in Ethernet frames (SIPp sets addresses and ports anew)."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for at, payload in timed:
        udp = struct.pack("!HHHH", 4000, 4000, 8 + len(payload), 0) + payload
        ip = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1"
        )
        frame = bytes(12) + b"\x08\x00" + ip + udp
        out += struct.pack("<IIII", int(at), int(at % 1 * 1e6), len(frame), len(frame)) + frame
    path.write_bytes(out)
    return path


def spoken(sound: bytes) -> list[tuple[float, bytes]]:
    """Key 0 after a second, the message after ten: by then the notice is said and the tone is over."""
    key = key_press("0", 101, 0, 8_000, 3)
    timed = [(1 + n * 0.02, pack(packet)) for n, packet in enumerate(key)]
    for n, frame in enumerate(frames(sound, Codec.PCMU)):
        timed.append((10 + n * 0.02, pack(RtpPacket(0, n == 0, 100 + n, 80_000 + n * 160, 3, frame))))
    return timed


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_it_keeps_what_sipp_says(tmp_path: Path, transport: str) -> None:
    sound = speech(3, 30)
    file = pcap(tmp_path / "message.pcap", spoken(sound))
    scenario = tmp_path / "call.xml"
    scenario.write_text(SCENARIO.replace("PCAP", str(file)))
    with running(tmp_path) as house:
        call = subprocess.run(
            ["sipp", f"127.0.0.1:{house.port}", "-sf", str(scenario), "-s", DIALLED, "-m", "1", "-l", "1",
             "-t", transport, "-i", "127.0.0.1", "-p", str(free_port()), "-mp", str(free_port()),
             "-timeout", "30", "-timeout_error", "-nostdin"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert call.returncode == 0, call.stdout[-3000:] + call.stderr
        [capture] = house.wait_for_captures(1)
    assert sound in sound_of(capture)
    assert capture.end.reason is EndReason.HANG_UP
    assert [digit.key for digit in capture.digits] == ["0"]
    assert capture.meta.caller == "5552017300"
