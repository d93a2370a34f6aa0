"""The real model, loaded once for these tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightbell.adapters.speech.whisper import WhisperRecogniser
from nightbell.core.log import Log

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def model_folder() -> Path:
    return Path(os.environ.get("NIGHTBELL_MODELS", ROOT / "models")).absolute()


@pytest.fixture(scope="session")
def recogniser(model_folder: Path) -> Iterator[WhisperRecogniser]:
    with open(os.devnull, "w") as nowhere:
        # What it hears is asked here, not how fast: beside other tests it gets little of the machine.
        ear = WhisperRecogniser(model_folder, Log("test", nowhere), least=120.0, factor=20.0)
        yield ear
        ear.close()
