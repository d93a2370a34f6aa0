import os

import pytest

from nightbell.sealing.errors import KeyUnavailable, Tampered, Truncated, UnknownFormat, WrongKey
from nightbell.sealing.kit import BadKit, parse_kit, print_kit
from nightbell.sealing.provider import FileKeyProvider


def test_it_wraps_and_unwraps_under_one_context(tmp_path):
    provider = FileKeyProvider.create(tmp_path / "keys" / "kek")
    wrapped = provider.wrap(b"secret", b"here")
    assert provider.unwrap(wrapped, b"here") == b"secret"
    assert b"secret" not in wrapped
    with pytest.raises(Tampered):
        provider.unwrap(wrapped, b"there")
    with pytest.raises(UnknownFormat):
        provider.unwrap(b"\x02" + wrapped[1:], b"here")
    with pytest.raises(Truncated):
        provider.unwrap(wrapped[:30], b"here")
    for at in range(9, len(wrapped)):
        with pytest.raises(Tampered):
            provider.unwrap(wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :], b"here")


def test_moving_the_key_file_away_works_at_once_and_putting_it_back_too(tmp_path):
    path = tmp_path / "kek"
    provider = FileKeyProvider.create(path)
    wrapped = provider.wrap(b"secret", b"")
    path.rename(tmp_path / "away")
    with pytest.raises(KeyUnavailable, match="put it back"):
        provider.unwrap(wrapped, b"")
    (tmp_path / "away").rename(path)
    assert provider.unwrap(wrapped, b"") == b"secret"


def test_a_key_that_others_can_read_or_of_another_length_is_refused(tmp_path):
    path = tmp_path / "kek"
    provider = FileKeyProvider.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        provider.wrap(b"", b"")
    path.chmod(0o600)
    path.write_bytes(bytes(33))
    with pytest.raises(KeyUnavailable):
        provider.wrap(b"", b"")


def test_it_never_overwrites_a_key_and_names_a_wrong_one(tmp_path):
    first = FileKeyProvider.create(tmp_path / "a")
    with pytest.raises(FileExistsError):
        FileKeyProvider.create(tmp_path / "a")
    with pytest.raises(WrongKey, match="right key file"):
        FileKeyProvider.create(tmp_path / "b").unwrap(first.wrap(b"x", b""), b"")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_the_printed_kit_gives_the_key_back_as_people_type_it():
    key = os.urandom(32)
    page = print_kit(key, "24 November 2026", "https://line.example")
    assert parse_kit(page) == key
    lines = [line for line in page.splitlines() if ":  " in line and line.startswith("    ")]
    typed = "\n".join(
        f"{line.strip()[0]}: " + line.strip()[4:].lower().replace("0", "o").replace(" ", "-")
        for line in lines
    )
    assert parse_kit(typed) == key


def test_the_kit_names_the_line_with_the_mistake():
    page = print_kit(bytes(range(32)), "today", "here")
    rows = page.splitlines()
    at = next(n for n, row in enumerate(rows) if row.strip().startswith("3:"))
    for column in range(8, len(rows[at])):
        if rows[at][column] == " ":
            continue
        wrong = rows[at][:column] + ("7" if rows[at][column] != "7" else "8") + rows[at][column + 1 :]
        with pytest.raises(BadKit, match="line 3"):
            parse_kit("\n".join([*rows[:at], wrong, *rows[at + 1 :]]))
    with pytest.raises(BadKit, match="line 3 is missing"):
        parse_kit("\n".join(rows[:at]))
