import base64
import json
from pathlib import Path

import pytest

from nightbell.sealing import capture, epochs
from nightbell.sealing.epochs import EpochPublic
from nightbell.sealing.errors import SealError, Truncated, UnknownFormat, WrongKey

VECTORS = Path(__file__).parents[2] / "vectors" / "sealed"


def test_only_the_private_half_and_the_same_info_open():
    epoch, private = epochs.new_epoch()
    sealed = epochs.seal_key(epoch, b"k" * 32, b"info")
    assert epochs.open_key(private, sealed, b"info") == b"k" * 32
    assert len(sealed) == epochs.SEALED_OVERHEAD + 32
    with pytest.raises(WrongKey):
        epochs.open_key(private, sealed, b"other")
    with pytest.raises(WrongKey):
        epochs.open_key(epochs.new_epoch()[1], sealed, b"info")
    with pytest.raises(Truncated):
        epochs.open_key(private, sealed[:100], b"info")
    with pytest.raises(UnknownFormat):
        epochs.open_key(private, b"\x02" + sealed[1:], b"info")


def test_the_public_half_travels_as_json():
    epoch, _ = epochs.new_epoch()
    assert EpochPublic.from_dict(json.loads(json.dumps(epoch.to_dict()))) == epoch
    for bad in (
        {},
        {"id": epoch.id},
        {"id": "x", "public": epoch.to_dict()["public"]},
        {"id": epoch.id, "public": "AQ=="},
        {"id": epoch.id, "public": "\u00e9"},
    ):
        with pytest.raises(SealError):
            EpochPublic.from_dict(bad)


def test_kept_vectors_still_open():
    """Made once by this code; a library that changes its mind about the young suite fails here."""
    kept = json.loads((VECTORS / "hpke-v1.json").read_text())
    private = base64.b64decode(kept["private"])
    sealed = base64.b64decode(kept["sealed"])
    assert epochs.open_key(private, sealed, kept["info"].encode()).hex() == kept["key"]
    got = capture.open_capture(base64.b64decode(kept["capture"]), private)
    assert [p.payload.hex() for p in got.packets] == kept["payloads"]
    assert got.complete
