"""ULID primary keys for Django models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from nightbell.core.ids import new_ulid

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class UlidField(_CharField):
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
