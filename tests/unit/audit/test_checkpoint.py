import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.audit.checkpoint import BadCheckpoint, Checkpoint, Signer, parse_vkey, verify, verify_note

# The example of the C2SP signed-note specification.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
SIGNER = Signer("nightbell.example/01/practice", bytes(range(32)))
POINT = Checkpoint("nightbell.example/01/practice", 42, bytes(range(32)))


def test_the_published_example_verifies():
    assert verify_note(NOTE, VKEY) == "This is an example message.\n"


def test_it_reads_back_what_it_signed():
    for point in (POINT, Checkpoint("o", 0, bytes(32), ("one", "two words"))):
        assert verify(SIGNER.sign(point), SIGNER.vkey) == point
    assert verify(SIGNER.sign(POINT), SIGNER.vkey, POINT.origin) == POINT


def test_another_key_log_or_text_is_refused():
    note = SIGNER.sign(POINT)
    for vkey in (VKEY, Signer(SIGNER.name, bytes(32)).vkey):
        with pytest.raises(BadCheckpoint, match="did not sign"):
            verify(note, vkey)
    with pytest.raises(BadCheckpoint, match="of the log"):
        verify(note, SIGNER.vkey, "other")
    with pytest.raises(BadCheckpoint, match="altered"):
        verify(note.replace("\n42\n", "\n43\n"), SIGNER.vkey)


def test_a_witness_may_sign_beside():
    note = SIGNER.sign(POINT)
    witness = Signer("witness.example", bytes(32)).sign(POINT).rpartition("\n\n")[2]
    assert verify(note + witness, SIGNER.vkey) == POINT
    body, _, ours = note.rpartition("\n\n")
    assert verify(body + "\n\n" + witness + ours, SIGNER.vkey) == POINT


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 7), st.data())
def test_any_flipped_bit_is_refused(bit, data):
    note = bytearray(SIGNER.sign(POINT).encode())
    note[data.draw(st.integers(0, len(note) - 1))] ^= 1 << bit
    with pytest.raises(BadCheckpoint):
        verify(note.decode("utf-8", "replace"), SIGNER.vkey)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_garbage_is_refused_by_type(text):
    with pytest.raises(BadCheckpoint):
        verify(text, SIGNER.vkey)
    with pytest.raises(BadCheckpoint):
        parse_vkey(text)


def test_what_the_format_cannot_hold_is_not_signed():
    for point in (
        Checkpoint("", 1, bytes(32)),
        Checkpoint("a\nb", 1, bytes(32)),
        Checkpoint("a", 1, bytes(31)),
        Checkpoint("a", -1, bytes(32)),
        Checkpoint("a", 1, bytes(32), ("",)),
    ):
        with pytest.raises(ValueError):
            SIGNER.sign(point)
    for name in ("", "a b", "a+b"):
        with pytest.raises(ValueError):
            Signer(name, bytes(32))
