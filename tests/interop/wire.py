"""The sound that arrives at somebody's telephone, taken off the wire: without a jitter buffer, a player or a recorder between.

A raw socket sees what the kernel gives to a port, whoever has it open. It needs to be root, as SIPp does to play a file.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType

import numpy as np
from tests.phone.test_sipp import pcap
from tests.sound import Samples

from nightbell.core.capture import Codec
from nightbell.phone import encode
from nightbell.sip import g711
from nightbell.sip.rtp import RtpPacket, pack, unpack

SO_ATTACH_FILTER = 26
SILENCE = b"\xff" * 160
PCMU = 0


def voice_of(path: Path, said: Samples, after_s: float, rest_s: float = 1.0) -> Path:
    """A pcap file for SIPp to play, which speaks after a while. Like a real telephone it is never without sound: SIPp plays
    by the time that lies between two packets."""
    speech = encode.frames(said.astype("<i2").tobytes(), Codec.PCMU)
    frames = [SILENCE] * round(after_s * 50) + list(speech) + [SILENCE] * round(rest_s * 50)
    packets = [RtpPacket(PCMU, n == 0, 100 + n, 8_000 + n * 160, 3, frame) for n, frame in enumerate(frames)]
    return pcap(path, [(n * 0.02, pack(packet)) for n, packet in enumerate(packets)])


class Wire:
    """All RTP of PCMU that arrives at one UDP port of 127.0.0.1, while the block lasts."""

    def __init__(self, port: int) -> None:
        self._port, self._over = port, threading.Event()
        self.heard: dict[
            tuple[int, int], bytes
        ] = {}  # (source, timestamp): payload, in the order in which it came
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        # Of an IP packet without options: the port at byte 22. Other tests' sound is not worth waking for.
        steps = [(0x28, 0, 0, 22), (0x15, 0, 1, port), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in steps))
        self._socket.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(steps), ctypes.addressof(code))
        )
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(5)
        self._socket.close()

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                data = self._socket.recv(2048)
            except TimeoutError:
                continue
            if len(data) < 40 or int.from_bytes(data[22:24], "big") != self._port:
                continue  # came before the filter was there
            packet = unpack(data[28:])
            if packet.payload_type == PCMU:
                self.heard.setdefault((packet.ssrc, packet.timestamp), packet.payload)

    @property
    def samples(self) -> Samples:
        """What was heard; where nothing came there is nothing."""
        found = b"".join(self.heard.values())
        return (
            np.frombuffer(g711.decode(found, Codec.PCMU), "<i2").astype(np.float64) if found else np.zeros(1)
        )
