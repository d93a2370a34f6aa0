import os

import pytest

from nightbell.core.ids import new_ulid
from nightbell.sealing.blobs import FolderBlobs, NoSuchBlob

PRACTICE = new_ulid()


def test_it_keeps_ranges_replaces_lists_and_deletes(tmp_path):
    blobs, name = FolderBlobs(tmp_path / "blobs"), new_ulid()
    blobs.put(PRACTICE, name, b"first")
    blobs.put(PRACTICE, name, b"0123456789")
    assert blobs.size(PRACTICE, name) == 10
    assert blobs.read_range(PRACTICE, name, 3, 4) == b"3456"
    assert blobs.read_range(PRACTICE, name, 8, 100) == b"89"
    assert list(blobs.ids(PRACTICE)) == [name]
    blobs.delete(PRACTICE, name)
    blobs.delete(PRACTICE, name)
    for use in (lambda: blobs.size(PRACTICE, name), lambda: blobs.read_range(PRACTICE, name, 0, 1)):
        with pytest.raises(NoSuchBlob):
            use()
    assert list(blobs.ids(PRACTICE)) == []


def test_another_practice_has_not_got_it(tmp_path):
    blobs, name = FolderBlobs(tmp_path), new_ulid()
    blobs.put(PRACTICE, name, b"x")
    with pytest.raises(NoSuchBlob):
        blobs.size(new_ulid(), name)


@pytest.mark.parametrize(
    "bad", ["", "..", "../../etc/passwd", "x" * 26, new_ulid().lower(), new_ulid() + "\n"]
)
def test_a_name_that_is_no_ulid_never_reaches_a_path(tmp_path, bad):
    blobs, name = FolderBlobs(tmp_path), new_ulid()
    for practice, id in ((bad, name), (PRACTICE, bad)):
        for use in (
            lambda p=practice, i=id: blobs.put(p, i, b""),
            lambda p=practice, i=id: blobs.size(p, i),
            lambda p=practice, i=id: blobs.read_range(p, i, 0, 1),
            lambda p=practice, i=id: blobs.delete(p, i),
        ):
            with pytest.raises(ValueError):
                use()
    assert os.listdir(tmp_path) == []


def test_files_are_for_the_owner_alone(tmp_path):
    FolderBlobs(tmp_path / "blobs").put(PRACTICE, new_ulid(), b"x")
    for folder, _, files in os.walk(tmp_path / "blobs"):
        assert os.stat(folder).st_mode & 0o077 == 0
        assert all(os.stat(os.path.join(folder, name)).st_mode & 0o077 == 0 for name in files)
