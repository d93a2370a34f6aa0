"""Datagrams many at a time, in memory that is made once (recvmmsg): half the price of one by one."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import Any

from pylibsrtp import _binding as binding

SLOT = 2048  # bytes of one datagram: what is longer is cut, and then no sound
SLOTS = 32
_NAME = 28  # bytes of the longer kind of socket address
_HEAD = 64  # bytes of a `struct mmsghdr`; its length lies at 56
_MAPPED = "::ffff:"
Address = tuple[str, int]

_recvmmsg = ctypes.CDLL(None, use_errno=False).recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("name_size", ctypes.c_uint), ("iov", ctypes.c_void_p),
        ("iov_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int), ("length", ctypes.c_uint), ("unused", ctypes.c_uint),
    ]  # fmt: skip


class Basket:
    """What `fill` fetched, of sockets of one address family. `data` holds the datagrams, slot n from n * SLOT on; for each slot `slots` has

    (start in data, slice of `names`, index in `sizes`, pointer to the datagram, pointer to its length as int).
    """

    def __init__(self) -> None:
        self._names = (ctypes.c_char * (_NAME * SLOTS))()
        self._data = (ctypes.c_char * (SLOT * SLOTS))()
        self._iovecs, self._heads = (_Iovec * SLOTS)(), (_Msghdr * SLOTS)()
        if ctypes.sizeof(_Msghdr) != _HEAD:
            raise RuntimeError("the phone runs on 64-bit Linux")
        ffi: Any = binding.ffi
        names, data = ctypes.addressof(self._names), ctypes.addressof(self._data)
        self._address = ctypes.addressof(self._heads)
        self.slots: list[tuple[int, slice, int, Any, Any]] = []
        for slot in range(SLOTS):
            self._iovecs[slot] = _Iovec(data + slot * SLOT, SLOT)
            iovec = ctypes.addressof(self._iovecs) + slot * ctypes.sizeof(_Iovec)
            self._heads[slot] = _Msghdr(names + slot * _NAME, _NAME, iovec, 1, None, 0, 0, 0, 0)
            length = self._address + slot * _HEAD + 56
            self.slots.append((
                slot * SLOT, slice(slot * _NAME, (slot + 1) * _NAME), (slot * _HEAD + 56) // 4,
                ffi.cast("void *", data + slot * SLOT), ffi.cast("int *", length),
            ))  # fmt: skip
        # Views that give bytes at once when sliced.
        self.data: Any = ffi.buffer(ffi.cast("char *", data), SLOT * SLOTS)
        self.names: Any = ffi.buffer(ffi.cast("char *", names), _NAME * SLOTS)
        self.sizes = memoryview(self._heads).cast("B").cast("I")

    def fill(self, handle: int) -> int:
        """Fetch what a socket has, at most SLOTS; how many. -1: nothing, or an error of what was sent before."""
        count: int = _recvmmsg(handle, self._address, SLOTS, socket.MSG_DONTWAIT, None)
        return count


def name_of(address: Address, family: socket.AddressFamily) -> bytes:
    """An address as `Basket.names` has it; b'' for one that nothing can come from."""
    host, port = mapped(address, family)
    try:
        packed = socket.inet_pton(family, host)
    except OSError:
        return b""
    if family == socket.AF_INET6:
        name = struct.pack("=H", family) + struct.pack("!HI", port, 0) + packed
    else:
        name = struct.pack("=H", family) + struct.pack("!H", port) + packed
    return name.ljust(_NAME, b"\0")


def address_of(name: bytes) -> Address:
    """Host and port of a name."""
    family = int.from_bytes(name[:2], sys.byteorder)
    port = int.from_bytes(name[2:4], "big")
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port
    return socket.inet_ntop(socket.AF_INET, name[4:8]), port


def mapped(address: Address, family: socket.AddressFamily) -> Address:
    """The address as a socket of this family sends to it: IPv4 through an IPv6 socket (RFC 4291 §2.5.5.2)."""
    host, port = address
    return (_MAPPED + host, port) if family == socket.AF_INET6 and ":" not in host else address
