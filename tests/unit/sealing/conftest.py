"""Keyrings on every database that is at hand."""

import os
from pathlib import Path

import psycopg
import pytest

from nightbell.sealing.keyring import Keyring
from nightbell.sealing.provider import FileKeyProvider

POSTGRES = os.environ.get("NIGHTBELL_TEST_POSTGRES")
BACKENDS = ["sqlite", *(["postgres"] if POSTGRES else [])]


class Home:
    """A keyring's places, apart from each other as in a real installation."""

    def __init__(self, root: Path, location: str) -> None:
        self.root, self.location = root, location
        self.keys, self.period_dir, self.slot = (
            root / "keys",
            root / "keys" / "period",
            root / "elsewhere.slot",
        )
        self.provider = FileKeyProvider.create(self.keys / "kek")

    def keyring(self) -> Keyring:
        return Keyring(self.location, self.period_dir, self.provider, self.slot)


@pytest.fixture(params=BACKENDS)
def home(request, tmp_path):
    if request.param == "sqlite":
        yield Home(tmp_path, str(tmp_path / "keyring.sqlite3"))
        return
    yield Home(tmp_path, POSTGRES)
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS nightbell_keyring CASCADE")


@pytest.fixture
def ring(home):
    opened = home.keyring()
    yield opened
    opened.close()
