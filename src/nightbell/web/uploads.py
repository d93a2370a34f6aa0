"""Files that people bring: kept in memory, never on disk, and only as much as a recording may have.

Django's own handler for memory takes 2.5 MB and drops what is larger without a word.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from nightbell.core.sound import MOST_BYTES

_FORM = 64 * 1024  # the other fields, and what multipart wraps around them


class TooLargeFile(RequestDataTooBig):
    """A file over the limit of a recording."""


class MemoryUpload(FileUploadHandler):
    """Collects one file. Whoever is not signed in brings none: their bytes are not kept."""

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, str],
        content_length: int,
        boundary: str,
        encoding: Any = None,
    ) -> None:
        """Refuse by the announced length, before anything is read. Raises TooLargeFile."""
        if content_length > MOST_BYTES + _FORM:
            raise TooLargeFile("upload")
        self.wanted = bool(self.request is not None and self.request.user.is_authenticated)

    def new_file(self, *args: Any, **more: Any) -> None:
        super().new_file(*args, **more)
        self.file, self.size = BytesIO(), 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Raises TooLargeFile."""
        self.size += len(raw_data)
        if self.size > MOST_BYTES:
            raise TooLargeFile("upload")
        if self.wanted:
            self.file.write(raw_data)

    def file_complete(self, file_size: int) -> InMemoryUploadedFile | None:
        if not self.wanted:
            return None
        self.file.seek(0)
        return InMemoryUploadedFile(
            self.file,
            self.field_name,
            self.file_name or "file",
            self.content_type or "",
            file_size,
            self.charset,
        )
