"""The callers' sound for bench/calls: a unique frame for each call each 20 ms, encrypted or not, one system call a tick."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pylibsrtp import Policy
from pylibsrtp import _binding as binding

from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import pack
from nightbell.sip.srtp import SrtpKeys

HEADER = struct.Struct("!BBHIIHI")  # RTP, then the stamp: number of the call, number of its frame
STAMP = struct.Struct("!HI")
NOISE = secrets.token_bytes(160 - STAMP.size)
PROFILE = "AEAD_AES_256_GCM"  # what our own two ends agree on
_POLICIES = {
    "AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 16),
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 10),
}
SLOT = 256
ffi: Any = binding.ffi
lib: Any = binding.lib
_sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("name_size", ctypes.c_uint), ("iov", ctypes.c_void_p),
        ("iov_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int), ("length", ctypes.c_uint), ("unused", ctypes.c_uint),
    ]  # fmt: skip


def srtp_context(profile: str, key: bytes, direction: int) -> Any:
    """A bare SRTP context."""
    policy = Policy(key, direction, 0, _POLICIES[profile][0])
    policy.window_size = 512
    made = ffi.new("srtp_t *")
    if lib.srtp_create(made, policy._policy):
        raise RuntimeError("no SRTP context")
    return made


@dataclass
class Line:
    """One call of the load. target: where its sound goes; keys: of its sound, None for plain."""

    number: int
    target: tuple[str, int]
    keys: SrtpKeys | None = None
    sent: int = 0
    sequence: int = 0
    ssrc: int = field(default_factory=lambda: secrets.randbits(32))
    context: Any = None

    def __post_init__(self) -> None:
        if self.keys is not None:
            self.context = srtp_context(self.keys.profile, self.keys.ours, Policy.SSRC_ANY_OUTBOUND)


class Sender(threading.Thread):
    """Sends for every line from one socket, whose address all of their descriptions name."""

    def __init__(self, most: int) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 2048
        )  # what the phone plays is not listened to
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.lines: list[Line] = []
        self._keys: deque[tuple[Line, str]] = deque()
        self.running, self.packets, self.unsent, self.worst = True, 0, 0, 0.0
        self._data = (ctypes.c_char * (SLOT * most))()
        self._names, self._iovecs, self._heads = bytearray(16 * most), (_Iovec * most)(), (_Msghdr * most)()
        self._view = memoryview(self._data).cast("B")
        names = ctypes.addressof((ctypes.c_char * len(self._names)).from_buffer(self._names))
        data, iovecs = ctypes.addressof(self._data), ctypes.addressof(self._iovecs)
        for slot in range(most):
            self._iovecs[slot] = _Iovec(data + slot * SLOT, 172)
            self._heads[slot] = _Msghdr(names + 16 * slot, 16, iovecs + 16 * slot, 1, None, 0, 0, 0, 0)
        self._pointers = [ffi.cast("void *", data + slot * SLOT) for slot in range(most)]

    def add(self, line: Line) -> None:
        """From the next tick on."""
        slot = len(self.lines)
        host, port = line.target
        self._names[16 * slot : 16 * slot + 16] = (
            struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
        )
        self._iovecs[slot].size = 172 + (0 if line.keys is None else _POLICIES[line.keys.profile][1])
        self._view[slot * SLOT + 18 : slot * SLOT + 172] = NOISE
        self.lines.append(line)

    def press(self, line: Line, key: str) -> None:
        """A key press, before the next frame."""
        self._keys.append((line, key))

    def _press(self, line: Line, key: str) -> None:
        packets = key_press(key, 101, line.sequence, 1, line.ssrc)
        line.sequence += len(packets)
        for packet in packets:
            data = pack(packet)
            if line.context is not None:
                memory = ffi.new("unsigned char[]", data + bytes(64))
                length = ffi.new("int *", len(data))
                lib.srtp_protect(line.context[0], memory, length)
                data = bytes(ffi.buffer(memory, length[0]))
            self.socket.sendto(data, line.target)

    def run(self) -> None:
        due = time.monotonic()
        length = ffi.new("int *")
        protect, pack_into, view, pointers = lib.srtp_protect, HEADER.pack_into, self._view, self._pointers
        while self.running:
            count = len(self.lines)
            while self._keys:
                self._press(*self._keys.popleft())
            for slot in range(count):
                line = self.lines[slot]
                sent, at, sequence = line.sent, slot * SLOT, line.sequence & 0xFFFF
                pack_into(view, at, 0x80, 0, sequence, sent * 160 & 0xFFFFFFFF, line.ssrc, line.number, sent)
                if line.context is not None:
                    view[at + 18 : at + 172] = NOISE
                    length[0] = 172
                    protect(line.context[0], pointers[slot], length)
                line.sent, line.sequence = sent + 1, line.sequence + 1
            self._send(count)
            due += 0.02
            delay = due - time.monotonic()
            self.worst = max(self.worst, -delay)
            if delay > 0:
                time.sleep(delay)

    def _send(self, count: int) -> None:
        done = 0
        start, handle = ctypes.addressof(self._heads), self.socket.fileno()
        while done < count:
            sent = _sendmmsg(handle, ctypes.c_void_p(start + 64 * done), min(count - done, 1024), 0)
            if sent <= 0:  # one that nobody listens to any more must not cost the others
                self.unsent += 1
                sent = 1
            done += sent
        self.packets += count


class Remote:
    """A Sender in a process of its own, so that it waits for no Python of the callers' signalling."""

    def __init__(self, most: int) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", "from bench.calls_wire import serve; serve()", str(most)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path[:2])},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("no pipe")
        self._to, self._from = self._child.stdin, self._child.stdout
        host, port = json.loads(self._from.readline())
        self.address = (host, port)

    def add(self, number: int, target: tuple[str, int], keys: SrtpKeys | None) -> None:
        secret = None if keys is None else [keys.profile, keys.ours.hex(), keys.theirs.hex()]
        print(json.dumps(["add", number, target, secret]), file=self._to)

    def press(self, number: int, key: str) -> None:
        print(json.dumps(["press", number, key]), file=self._to)

    def stop(self) -> dict[str, Any]:
        """Say no more; what was sent: packets, unsent, worst (seconds), sent (frames by number)."""
        print(json.dumps(["stop"]), file=self._to)
        told: dict[str, Any] = json.loads(self._from.readline())
        self._child.wait(10)
        return told | {"sent": {int(number): sent for number, sent in told["sent"].items()}}


def serve() -> None:
    """The child of Remote."""
    os.nice(5)  # on the callers' core their sound comes after their signalling, whose time is measured
    sender = Sender(int(sys.argv[1]))
    print(json.dumps(sender.socket.getsockname()), flush=True)
    sender.start()
    known: dict[int, Line] = {}
    for text in sys.stdin:
        what, *rest = json.loads(text)
        if what == "add":
            number, (host, port), secret = rest
            keys = (
                None if secret is None else SrtpKeys(secret[0], *(bytes.fromhex(one) for one in secret[1:]))
            )
            known[number] = Line(number, (host, port), keys)
            sender.add(known[number])
        elif what == "press":
            sender.press(known[rest[0]], rest[1])
        else:
            break
    sender.running = False
    sender.join()
    sent = {line.number: line.sent for line in sender.lines}
    print(json.dumps({
        "packets": sender.packets, "unsent": sender.unsent, "worst": sender.worst, "sent": sent,
    }), flush=True)  # fmt: skip
