"""PHI as a type: a value that cannot be printed, formatted, logged or serialised by accident.

Opened only with a Warrant, and `people.access` alone issues those, after its audit row is
committed (DESIGN decision 5). The wrapper guards against accidents, not against hostile code
in the same process.
"""

from __future__ import annotations

from typing import Generic, NoReturn, TypeVar

T = TypeVar("T")

MASK = "‹phi›"


class Warrant:
    """Proof that a read was written to the audit log (`event` is its id)."""

    __slots__ = ("event",)

    def __init__(self, event: str) -> None:
        self.event = event


class Phi(Generic[T]):
    """Holds one value of protected health information."""

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value = value

    def open(self, warrant: Warrant) -> T:
        """The value itself, for the holder of a warrant."""
        if not isinstance(warrant, Warrant):
            raise TypeError("PHI is opened with a Warrant from people.access")
        return self.__value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("PHI is not serialised")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Phi) and self.__value == other.__value

    def __hash__(self) -> NoReturn:
        raise TypeError("PHI is not a key")

    def __bool__(self) -> bool:
        return bool(self.__value)
