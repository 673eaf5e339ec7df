"""The files of all pages: style, scripts, fonts."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from edge_agent.kiosk.render import STATIC, digest, static_names

TYPES = {
    ".css": "text/css",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}


async def static(request: Request) -> Response:
    """With their hash in the address browsers keep them for ever, else they ask again with the ETag."""
    name = request.path_params["name"]
    if name not in static_names():
        return PlainTextResponse("not found", 404)
    etag = f'"{digest(name)}"'
    keep = request.query_params.get("v") == digest(name)
    headers = {"etag": etag, "cache-control": "public, max-age=31536000, immutable" if keep else "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return FileResponse(STATIC / name, media_type=TYPES[Path(name).suffix], headers=headers)
