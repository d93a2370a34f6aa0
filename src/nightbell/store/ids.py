"""ULID primary keys for Django models."""

from __future__ import annotations

from typing import Any

from django.db import models

from nightbell.core.ids import new_ulid


class UlidField(models.CharField):  # type: ignore[type-arg]
    """A primary key that sorts by time of birth."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("primary_key", True)
        options.setdefault("default", new_ulid)
        options.setdefault("editable", False)
        options["max_length"] = 26
        super().__init__(**options)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("max_length", None)
        return name, path, list(args), kwargs
