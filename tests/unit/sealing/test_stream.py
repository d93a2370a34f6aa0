import io
import os

import pytest
import tink
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2

from nightbell.sealing import stream
from nightbell.sealing.errors import SealError, Tampered, Truncated, UnknownFormat
from nightbell.sealing.stream import CAPTURE_SEGMENT, HEADER, TAG, StreamReader, StreamSealer, recover, seal

AD = b"associated"
KEY = bytes(range(32))
FIRST, NEXT = CAPTURE_SEGMENT - TAG - HEADER, CAPTURE_SEGMENT - TAG
EDGES = sorted(
    {0, 1, 100}
    | {edge + d for edge in (FIRST, FIRST + NEXT, FIRST + 2 * NEXT, FIRST + 5 * NEXT) for d in (-1, 0, 1)}
)

streaming_aead.register()


class _Open(io.BytesIO):
    def close(self) -> None: ...


@pytest.fixture(scope="module")
def peer():
    """Tink's own implementation, and the raw key of the keyset that it made."""
    handle = tink.new_keyset_handle(streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_4KB)
    raw = tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    import base64
    import json

    value = base64.b64decode(json.loads(raw)["key"][0]["keyData"]["value"])
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey.FromString(value).key_value
    return handle.primitive(streaming_aead.StreamingAead), key


def reader(key, data, ad=AD, segment=CAPTURE_SEGMENT):
    return StreamReader(key, ad, lambda offset, n: data[offset : offset + n], len(data), segment)


@pytest.mark.parametrize("size", EDGES)
def test_it_opens_what_tink_sealed(peer, size):
    primitive, key = peer
    plain, out = os.urandom(size), _Open()
    with primitive.new_encrypting_stream(out, AD) as sink:
        sink.write(plain)
    assert reader(key, out.getvalue()).read() == plain
    assert recover(key, AD, out.getvalue()) == stream.Recovered(plain, True)


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("eager", [False, True])
def test_tink_opens_what_it_sealed(peer, size, eager):
    primitive, key = peer
    plain = os.urandom(size)
    sealer = StreamSealer(key, AD, CAPTURE_SEGMENT)
    sealed = sealer.header
    for at in range(0, size, 167):
        sealed += sealer.write(plain[at : at + 167], more=eager and at + 167 < size)
    sealed += sealer.finish()
    with primitive.new_decrypting_stream(io.BytesIO(sealed), AD) as source:
        assert source.read() == plain


@pytest.mark.parametrize("size", EDGES)
def test_it_refuses_cutting_and_extending_at_opening(size):
    data = seal(KEY, AD, os.urandom(size), CAPTURE_SEGMENT)
    for cut in {1, TAG, CAPTURE_SEGMENT, len(data) // 2} - {0}:
        with pytest.raises((Tampered, Truncated)):
            reader(KEY, data[: max(0, len(data) - cut)])
    for more in (1, 15, 16, 4096, 5000):
        with pytest.raises((Tampered, Truncated)):
            reader(KEY, data + bytes(more))


def test_it_refuses_another_key_ad_or_format():
    data = seal(KEY, AD, b"words", CAPTURE_SEGMENT)
    with pytest.raises(Tampered):
        reader(bytes(32), data)
    with pytest.raises(Tampered):
        reader(KEY, data, ad=b"other")
    with pytest.raises(UnknownFormat):
        reader(KEY, b"\x29" + data[1:])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_it_reads_any_range_as_the_plain_bytes(data):
    plain = os.urandom(data.draw(st.sampled_from(EDGES)))
    opened = reader(KEY, seal(KEY, AD, plain, CAPTURE_SEGMENT))
    offset = data.draw(st.integers(0, len(plain) + 5))
    length = data.draw(st.integers(0, len(plain) + 5))
    assert opened.read_at(offset, length) == plain[offset : offset + length]
    opened.seek(offset)
    assert opened.read(length) == plain[offset : offset + length]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 7), st.data())
def test_a_flipped_bit_is_refused_and_recovery_only_shortens(bit, data):
    plain = bytes(i % 251 for i in range(FIRST + 2 * NEXT + 100))
    sealed = bytearray(seal(KEY, AD, plain, CAPTURE_SEGMENT))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << bit
    with pytest.raises(SealError):
        reader(KEY, bytes(sealed)).read()
    try:
        found = recover(KEY, AD, bytes(sealed))
    except SealError:
        return
    assert not found.whole
    assert plain.startswith(found.plain)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_it_recovers_all_whole_segments_of_a_cut_stream(data):
    plain = bytes(i % 251 for i in range(FIRST + 2 * NEXT + 100))
    sealed = seal(KEY, AD, plain, CAPTURE_SEGMENT)
    cut = data.draw(st.integers(HEADER, len(sealed) - 1))
    found = recover(KEY, AD, sealed[:cut])
    segments = cut // CAPTURE_SEGMENT
    assert found == stream.Recovered(plain[: FIRST + (segments - 1) * NEXT] if segments else b"", False)
