"""The database tier: a real home and keyring, Django's test database on the engine under test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from tests.factories import House, make_house

from nightbell.core.config import load
from nightbell.sealing.provider import FileKeyProvider
from nightbell.server import home
from nightbell.store import vault


@pytest.fixture(scope="session", autouse=True)
def _keys() -> Iterator[None]:
    config = load()
    for name in home.FOLDERS:
        (config.home / name).mkdir(parents=True, exist_ok=True)
    (config.keys / "periods").mkdir(parents=True, exist_ok=True)
    if not (config.keys / "kek.key").exists():
        FileKeyProvider.create(config.keys / "kek.key")
    ring = vault.keyring()
    for name, kind in (
        (vault.SECRETS, "secret"),
        (home.SNAPSHOT_SIGNER, "signer"),
        (home.CHECKPOINT_SIGNER, "signer"),
    ):
        if not ring.has(name):
            ring.put(name, kind, secrets.token_bytes(32))
    yield


@pytest.fixture(autouse=True)
def _quick_hashing(settings: Any) -> None:
    settings.PASSWORD_HASHERS = [
        "tests.db.hashing.QuickHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]


@pytest.fixture
def house(db: None) -> House:
    return make_house("AB12", "5035550100")


@pytest.fixture
def other(db: None, house: House) -> House:
    return make_house("CD34", "5035550190")
