"""What all tiers share: a throw-away home, an environment without surprises, and the repository's paths."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

# Before Django's settings are imported: they read the environment once.
_ROOT = Path(tempfile.mkdtemp(prefix="nightbell-tests-"))
for name in [
    name
    for name in os.environ
    if name.startswith("NIGHTBELL_") and "TEST" not in name and name != "NIGHTBELL_MODELS"
]:
    del os.environ[name]
os.environ.setdefault("NIGHTBELL_MODELS", str(Path(__file__).resolve().parents[1] / "models"))
os.environ["NIGHTBELL_HOME"] = str(_ROOT / "home")
os.environ["NIGHTBELL_KEYS"] = str(_ROOT / "keys")
os.environ["NIGHTBELL_URL"] = "https://nightbell.test"
database = os.environ.get("NIGHTBELL_TEST_DATABASE", "sqlite")
if database != "sqlite":
    os.environ["NIGHTBELL_DATABASE"] = os.environ["NIGHTBELL_KEYRING"] = database
for folder in ("home/db", "keys"):
    (_ROOT / folder).mkdir(parents=True, exist_ok=True)


# Named here and not in pyproject.toml, where pytest-django would load the settings before this file ran.
os.environ["DJANGO_SETTINGS_MODULE"] = "nightbell.server.settings"

from nightbell.server.django_setup import setup  # noqa: E402

setup()


def pytest_collection_finish() -> None:
    """What is loaded stays: it need not be looked through again and again."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(_ROOT, ignore_errors=True)
