"""Messages between the processes of one phone: frozen dataclasses as JSON, each with its length before it.

    frame = length (4 bytes, big-endian), {"kind": name of the class, field: value, ...}

Every value is checked against its field's type when it is read: an engine takes in whatever callers send, so the front
believes it no more than any stranger. That is also why this is no pickle.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import json
import struct
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from nightbell.core.errors import NightbellError

MAX_FRAME = 1_000_000
MAX_BACKLOG = 16_000_000  # bytes that the other side has not read: it hangs
_LENGTH = struct.Struct("!I")

Reader = Callable[[Any], Any]


class BadFrame(NightbellError, ValueError):
    """Bytes that are no message of the other process."""

    def __init__(self, why: str) -> None:
        super().__init__("a message between the phone's processes", why)


def pack(message: object) -> bytes:
    """A message as a frame."""
    body = json.dumps({"kind": type(message).__name__, **_plain(message)}, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def read(body: bytes, kinds: Mapping[str, type]) -> Any:
    """The message in a frame's body. kinds: the classes that may come, by name. Raises BadFrame."""
    try:
        data = json.loads(body)
        kind = kinds[data.pop("kind")]
        return _reader(kind)(data)
    except (NightbellError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadFrame(f"it is malformed ({type(error).__name__})") from error


def _plain(value: Any) -> Any:
    """As JSON has it: bytes as Latin-1, an enum by its value, a dataclass as a table of its fields."""
    if dataclasses.is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return value


@functools.cache
def _reader(hint: Any) -> Reader:
    """How a value of this type is read; what it returns raises ValueError for another one."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _optional(inner)
    if origin is tuple:
        return _tuple(inner)
    if origin is not None and issubclass(origin, Mapping):
        return _table(_reader(inner[1]))
    if hint is bytes:
        return lambda value: _exact(str, value).encode("latin-1")
    if hint is float:
        return lambda value: float(value) if type(value) in (int, float) else _exact(float, value)
    if hint in (str, int, bool):
        return functools.partial(_exact, hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _record(hint)
    raise TypeError(f"a message cannot hold {hint!r}")


def _exact(kind: type, value: Any) -> Any:
    if type(value) is not kind:  # True is no count, although Python thinks so
        raise ValueError("a field is of another type")
    return value


def _optional(inner: tuple[Any, ...]) -> Reader:
    [one] = [hint for hint in inner if hint is not types.NoneType]
    reader = _reader(one)
    return lambda value: None if value is None else reader(value)


def _tuple(inner: tuple[Any, ...]) -> Reader:
    if len(inner) == 2 and inner[1] is Ellipsis:
        reader = _reader(inner[0])
        return lambda value: tuple(reader(one) for one in _exact(list, value))
    readers = [_reader(one) for one in inner]
    return lambda value: tuple(reader(one) for reader, one in zip(readers, _exact(list, value), strict=True))


def _table(reader: Reader) -> Reader:
    return lambda value: {key: reader(one) for key, one in _exact(dict, value).items()}


def _record(kind: type) -> Reader:
    hints = typing.get_type_hints(kind)
    readers = {one.name: _reader(hints[one.name]) for one in dataclasses.fields(kind)}

    def reader(value: Any) -> Any:
        table = _exact(dict, value)
        if table.keys() != readers.keys():
            raise ValueError("a field is missing or not known")
        return kind(**{name: readers[name](one) for name, one in table.items()})

    return reader


class Link(asyncio.Protocol):
    """One end of the socket between two processes. `send` never blocks and never fails."""

    def __init__(
        self, kinds: Mapping[str, type], take: Callable[[Any], None], lost: Callable[[], None]
    ) -> None:
        """take(message): one came; lost(): the other side is gone, hangs, or sent what is no message."""
        self._kinds, self._take, self._lost = kinds, take, lost
        self._waiting = bytearray()
        self._transport: asyncio.Transport | None = None
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def send(self, message: object) -> None:
        """Nothing is sent once the link is over."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_BACKLOG:
            transport.abort()
            return
        transport.write(pack(message))

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while not self._over and len(self._waiting) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._waiting)
            if length > MAX_FRAME:
                self.close()
                return
            if len(self._waiting) < _LENGTH.size + length:
                return
            body = bytes(self._waiting[_LENGTH.size : _LENGTH.size + length])
            del self._waiting[: _LENGTH.size + length]
            try:
                message = read(body, self._kinds)
            except BadFrame:
                self.close()
                return
            self._take(message)

    def connection_lost(self, _error: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        """End it from this side. Idempotent; `lost` follows once."""
        if self._transport is not None:
            self._transport.abort()
        if not self._over:
            self._over = True
            self._lost()
