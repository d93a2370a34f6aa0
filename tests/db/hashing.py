"""Passwords hashed as in the product, but not slowly on purpose: these tests hash hundreds."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """PBKDF2 with few rounds."""

    iterations = 1000
