"""A call that is answered and of which no file can be made: its caller is told, and the line is free again."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.phone.endpoints import message, phone, run, until
from tests.phone.test_unconfirmed import lines

from nightbell.sealing.errors import UnknownFormat
from nightbell.sealing.spool import SpoolFile

TROUBLE = {"clips": {"en/trouble": "builtin:digit-1"}}


def _read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "read-only")


def _garbled(*_: object) -> None:
    raise UnknownFormat("a sealing public key", "it is garbled")


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("broken", ["seal", "disk", "recorder"])
def test_the_caller_hears_that_there_is_trouble_and_the_call_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, quick: bool
) -> None:
    monkeypatch.setattr("nightbell.phone.recorder.Recorder.quick", quick)

    async def story() -> None:
        async with lines(tmp_path, **TROUBLE) as it, phone(it.endpoint.port) as client:
            with monkeypatch.context() as patched:
                if broken == "seal":
                    patched.setattr("nightbell.phone.recorder.CaptureSealer", _garbled)
                elif broken == "recorder":
                    patched.setattr(it.phone.works.recorder, "open", _garbled)  # type: ignore[attr-defined]
                else:
                    patched.setattr(SpoolFile, "append", _read_only)
                    patched.setattr(SpoolFile, "discard", _read_only)
                client.send(it.invite(client.port))
                answer = await client.response()
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            assert (await client.request(10)).method == "BYE"
            assert it.ear.heard > 20  # the words
            assert it.phone.works.calls == 0
            await until(lambda: not it.media.open_ports)
            assert "capture_not_opened" in it.log.getvalue()

    run(story())
