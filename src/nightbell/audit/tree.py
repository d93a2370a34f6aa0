"""The Merkle tree of the audit log. Source: RFC 6962 §2.1; verification as in RFC 9162 §2.1.3 and §2.1.4.

Hashes are SHA-256, 32 bytes. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HASH = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that appending needs: the roots of the perfect subtrees of a log of `size` leaves, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """The log with one more leaf hash."""
        peaks, node, size = list(self.peaks), leaf, self.size
        while size & 1:
            node = node_hash(peaks.pop(), node)
            size >>= 1
        return Frontier(self.size + 1, (*peaks, node))

    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def to_bytes(self) -> bytes:
        """The peaks, end to end; the size is kept beside it."""
        return b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Frontier:
        """Raises ValueError when `data` cannot be the frontier of a log of `size` leaves."""
        if size < 0 or len(data) != HASH * size.bit_count():
            raise ValueError("not the frontier of a log of this size")
        return cls(size, tuple(data[at : at + HASH] for at in range(0, len(data), HASH)))


def frontier_of(leaves: Iterable[bytes]) -> Frontier:
    """The frontier of all these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    return frontier_of(leaves).root()


def _split(size: int) -> int:
    """The largest power of two below `size` (which is over 1)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The way from leaf `index` to the root of `leaves` (hashes), lowest first. Raises ValueError."""
    if not 0 <= index < len(leaves):
        raise ValueError("no such leaf")
    proof: list[bytes] = []
    low, high = 0, len(leaves)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(root_of(leaves[middle:high]))
            high = middle
        else:
            proof.append(root_of(leaves[low:middle]))
            low = middle
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether leaf hash `leaf` is number `index` of the log of `size` leaves with `root` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    first, last, node = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if first & 1 or first == last:
            node = node_hash(step, node)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            node = node_hash(node, step)
        first, last = first >> 1, last >> 1
    return last == 0 and node == root


def consistency_proof(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """That the log of the first `old` leaves is a prefix of `leaves` (hashes). Raises ValueError."""
    if not 0 < old <= len(leaves):
        raise ValueError("no such earlier size")
    proof: list[bytes] = []
    low, high, whole = 0, len(leaves), True
    while old != high - low:
        middle = _split(high - low)
        if old <= middle:
            proof.append(root_of(leaves[low + middle : high]))
            high = low + middle
        else:
            proof.append(root_of(leaves[low : low + middle]))
            low, old, whole = low + middle, old - middle, False
    if not whole:
        proof.append(root_of(leaves[low:high]))
    return proof[::-1]


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the log of `new` leaves begins with the log of `old` leaves (RFC 9162 §2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    before = after = path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            after = node_hash(after, step)
        first, last = first >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
