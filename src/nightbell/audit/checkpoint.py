"""Checkpoints: a signed statement of how many leaves the log has and what its root is.

Sources: C2SP tlog-checkpoint (the text) and C2SP signed-note (the signature, Ed25519 as type 0x01).

    text = origin LF, size LF, base64(root) LF, extension lines
    note = text, LF, ("— " name " " base64(key id (4), signature (64)) LF)+
    vkey = name "+" hex(key id) "+" base64(0x01, public key);  key id = SHA-256(name LF 0x01 public key)[:4]
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from nightbell.audit.tree import HASH
from nightbell.core.errors import NightbellError

_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]+\Z")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\Z")
_DASH = "\u2014 "


class BadCheckpoint(NightbellError):
    """Not a checkpoint, or not signed by the key that was asked for."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """origin: unique name of the log; size: leaves; root: 32 bytes; extensions: lines, mostly none."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The signed bytes as text. Raises ValueError for what the format cannot hold."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions]
        if self.size < 0 or len(self.root) != HASH or not all(lines) or any("\n" in line for line in lines):
            raise ValueError("a checkpoint has an origin, a size and a root of 32 bytes, and no empty lines")
        return "\n".join(lines) + "\n"


def key_id(name: str, public: bytes) -> bytes:
    """Four bytes that name a key in a signature line. public: 32 bytes."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


class Signer:
    """Signs checkpoints in the name of a log. Raises ValueError for a name with blanks or a plus."""

    def __init__(self, name: str, seed: bytes) -> None:
        if not _NAME.match(name):
            raise ValueError("a key's name has no blanks and no plus")
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes_raw()

    @staticmethod
    def new_seed() -> bytes:
        """32 bytes for the keyring, kind 'signer'."""
        return Ed25519PrivateKey.generate().private_bytes_raw()

    @property
    def vkey(self) -> str:
        """The public half, to be given out and kept where the log is not."""
        encoded = base64.b64encode(_ED25519 + self._public).decode()
        return f"{self.name}+{key_id(self.name, self._public).hex()}+{encoded}"

    def sign(self, checkpoint: Checkpoint) -> str:
        """The signed note."""
        text = checkpoint.text()
        signature = key_id(self.name, self._public) + self._key.sign(text.encode())
        return f"{text}\n{_DASH}{self.name} {base64.b64encode(signature).decode()}\n"


def parse_vkey(vkey: str) -> tuple[str, bytes]:
    """Name and public key (32 bytes). Raises BadCheckpoint."""
    parts = vkey.strip().split("+", 2)
    try:
        name, id, data = parts[0], bytes.fromhex(parts[1]), base64.b64decode(parts[2], validate=True)
    except (IndexError, ValueError) as error:
        raise BadCheckpoint("a verifier key", "it is not name+id+key") from error
    if not _NAME.match(name) or data[:1] != _ED25519 or len(data) != 33 or key_id(name, data[1:]) != id:
        raise BadCheckpoint("a verifier key", "its id does not fit its name and key, or it is not Ed25519")
    return name, data[1:]


def verify_note(note: str, vkey: str) -> str:
    """The text of a signed note (with its last line feed) that this key signed. Raises BadCheckpoint."""
    name, public = parse_vkey(vkey)
    text, gap, signatures = note.rpartition("\n\n")
    if not gap or not signatures.endswith("\n"):
        raise BadCheckpoint("a signed note", "it has no signature lines")
    text += "\n"
    good = False
    for line in signatures[:-1].split("\n"):
        signer, data = _signature(line)
        # Lines of other keys (witnesses) are not ours to judge.
        if signer != name or data[:4] != key_id(name, public):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(data[4:], text.encode())
        except InvalidSignature:
            raise BadCheckpoint(
                "a signed note", f"the signature of {name} is wrong: it was altered"
            ) from None
        good = True
    if not good:
        raise BadCheckpoint("a signed note", f"{name} did not sign it with this key")
    return text


def _signature(line: str) -> tuple[str, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise BadCheckpoint("a signed note", "a signature line is garbled") from error
    canonical = base64.b64encode(data).decode() == encoded
    if dash != _DASH[0] or not _NAME.match(name) or len(data) < 5 or not canonical:
        raise BadCheckpoint("a signed note", "a signature line is garbled")
    return name, data


def verify(note: str, vkey: str, origin: str | None = None) -> Checkpoint:
    """The checkpoint that `note` states and this key signed (and of `origin`, if given). Raises BadCheckpoint."""
    lines = verify_note(note, vkey).split("\n")[:-1]
    if len(lines) < 3 or not all(lines) or not _SIZE.match(lines[1]):
        raise BadCheckpoint("a checkpoint", "it does not have an origin, a size and a root")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError as error:
        raise BadCheckpoint("a checkpoint", "its root is garbled") from error
    if len(root) != HASH:
        raise BadCheckpoint("a checkpoint", "its root is not 32 bytes")
    if origin is not None and lines[0] != origin:
        raise BadCheckpoint("a checkpoint", f"it is of the log {lines[0]}, not of {origin}")
    return Checkpoint(lines[0], int(lines[1]), root, tuple(lines[3:]))
