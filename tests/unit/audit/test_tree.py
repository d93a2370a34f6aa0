import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.audit import tree
from nightbell.audit.tree import Frontier, frontier_of, leaf_hash, root_of

# The reference inputs and roots of the Certificate Transparency project for RFC 6962.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(bytes.fromhex(text)) for text in INPUTS]
MANY = [leaf_hash(str(n).encode()) for n in range(130)]


def naive_root(leaves):
    """RFC 6962 §2.1 as it is written: the oracle."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def test_it_has_the_known_roots():
    assert [root_of(LEAVES[: n + 1]).hex() for n in range(8)] == ROOTS
    assert root_of([]) == tree.EMPTY_ROOT == hashlib.sha256(b"").digest()


def test_every_size_has_the_root_of_the_definition():
    frontier = Frontier()
    for n, leaf in enumerate(MANY):
        frontier = frontier.append(leaf)
        assert frontier.root() == naive_root(MANY[: n + 1])
        assert Frontier.from_bytes(frontier.size, frontier.to_bytes()) == frontier


def test_a_frontier_of_another_size_is_refused():
    kept = frontier_of(MANY[:7]).to_bytes()
    for size in (-1, 0, 6, 8):
        with pytest.raises(ValueError):
            Frontier.from_bytes(size, kept)


def test_every_leaf_is_proved_in_every_log():
    for size in range(1, 35):
        root = root_of(MANY[:size])
        for index in range(size):
            proof = tree.inclusion_proof(MANY[:size], index)
            assert tree.verify_inclusion(MANY[index], index, size, proof, root)
            assert not tree.verify_inclusion(MANY[index + 1], index, size, proof, root)
            assert not tree.verify_inclusion(MANY[index], index + 1, size, proof, root)
            assert not tree.verify_inclusion(MANY[index], index, size, [*proof, root], root)
            assert not proof or not tree.verify_inclusion(MANY[index], index, size, proof[:-1], root)


def test_every_earlier_log_is_proved_a_prefix():
    for new in range(1, 35):
        root = root_of(MANY[:new])
        for old in range(1, new + 1):
            old_root = root_of(MANY[:old])
            proof = tree.consistency_proof(MANY[:new], old)
            assert tree.verify_consistency(old, new, old_root, root, proof)
            other = root_of([*MANY[: old - 1], MANY[-1]])
            assert not tree.verify_consistency(old, new, other, root, proof)
            assert not tree.verify_consistency(old, new, old_root, other, proof)
            assert not tree.verify_consistency(old, new, old_root, root, [*proof, root])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 130), st.data())
def test_a_flipped_bit_in_a_proof_is_refused(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(MANY[:size], index)
    if not proof:
        return
    at, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    wrong = bytearray(proof[at])
    wrong[bit // 8] ^= 1 << bit % 8
    proof[at] = bytes(wrong)
    assert not tree.verify_inclusion(MANY[index], index, size, proof, root_of(MANY[:size]))


def test_leaves_and_nodes_cannot_be_taken_for_each_other():
    assert leaf_hash(MANY[0] + MANY[1]) != tree.node_hash(MANY[0], MANY[1])


@pytest.mark.parametrize(
    ("call", "argument"),
    [("inclusion_proof", 5), ("inclusion_proof", -1), ("consistency_proof", 0), ("consistency_proof", 6)],
)
def test_what_is_not_there_cannot_be_proved(call, argument):
    with pytest.raises(ValueError):
        getattr(tree, call)(MANY[:5], argument)
