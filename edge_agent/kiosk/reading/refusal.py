"""Why a picture was not read: a code for programs, an HTTP status, and a sentence for people."""

from __future__ import annotations

MAX_UPLOAD_MB = 20

_REASONS = {
    "too_large": (413, f"larger than {MAX_UPLOAD_MB} MB"),
    "type": (415, "not a JPEG, PNG or WebP picture"),
    "picture": (422, "the picture cannot be decoded"),
    "busy": (503, "too many pictures at once; try again in a moment"),
    "timeout": (504, "the picture took too long and was given up"),
    "token": (401, "send the token as 'Authorization: Bearer TOKEN'"),
    "off": (403, "reading pictures is off on this device: see kiosk.predict in its configuration"),
    "unexpected": (500, "the reader failed; the device's log says why"),
}


class RefusalError(Exception):
    """An answer other than the figures; it ends one request and nothing else."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.status, sentence = _REASONS[code]
        self.detail = detail or sentence
        super().__init__(f"{code}: {self.detail}")

    def as_dict(self) -> dict[str, dict[str, str]]:
        """The JSON body, as ``openapi.json`` describes it."""
        return {"error": {"code": self.code, "detail": self.detail}}
