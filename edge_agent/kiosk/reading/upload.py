"""Takes a picture from a request: only in memory, never more than the limit, and only for a limited time."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from edge_agent.kiosk.reading.refusal import MAX_UPLOAD_MB, RefusalError

MAX_BYTES = MAX_UPLOAD_MB * 1_000_000
_FORM_BYTES = 10_000
"""Bytes that a form adds around its file."""
UPLOAD_S = 60.0
_DISCARD_S = 10.0

_FIELD_BYTES = 1000
"""Every other field of the form: a name or a token."""

_STARTS = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP", re.DOTALL)
"""The first bytes of JPEG, PNG and WebP."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that was sent."""

    data: bytes
    name: str


async def take(request: Request) -> Upload:
    """Read the picture of a request, from a form's field ``picture`` or as the bare body.

    Raises:
        RefusalError: it is too large, too slow, or not a picture by its first bytes.
    """
    try:
        upload = await asyncio.wait_for(_read(request), UPLOAD_S)
    except asyncio.TimeoutError:
        raise RefusalError("timeout") from None
    if not _STARTS.match(upload.data):
        raise RefusalError("type")
    return upload


async def discard(request: Request) -> None:
    """Continue to read without keeping anything, so that a browser that is still sending sees our answer."""

    async def read_all() -> None:
        async for _ in request.stream():
            pass

    try:
        await asyncio.wait_for(read_all(), _DISCARD_S)
    except (asyncio.TimeoutError, ClientDisconnect, RuntimeError):
        return


def given_token(request: Request) -> str:
    """The token of ``Authorization: Bearer TOKEN``, or the password of ``Authorization: Basic``; empty without one."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2] if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


async def _read(request: Request) -> Upload:
    is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
    limit = MAX_BYTES + (_FORM_BYTES if is_form else 0)
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limit:
        raise RefusalError("too_large")
    if is_form:
        return await _read_form(request, limit)
    data = bytearray()
    async for chunk in _bounded(request, limit):
        data += chunk
    return Upload(bytes(data), "upload")


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The pieces of the body, until they are more than announced or allowed."""
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > limit:
            raise RefusalError("too_large")
        yield chunk


async def _read_form(request: Request, limit: int) -> Upload:
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise RefusalError("type", "the form must be UTF-8")  # Python knows charsets that take minutes to decode
    parser = MultiPartParser(
        request.headers, _bounded(request, limit), max_files=1, max_fields=2, max_part_size=_FIELD_BYTES
    )
    # Beyond this many bytes the parser would put the picture into a file on the disk.
    parser.spool_max_size = limit + 1
    try:
        form = await parser.parse()
    except MultiPartException:
        raise RefusalError("type", "not a form that can be read") from None
    try:
        picture = form.get("picture")
        if not isinstance(picture, UploadFile):
            raise RefusalError("type", "the form has no file in its field 'picture'")
        data = await picture.read()
    finally:
        await form.close()
    return Upload(data, (picture.filename or "upload")[:100])
