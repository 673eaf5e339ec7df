"""Takes passwords out of text before it reaches a log, a status line or a report.

Camera addresses carry them (``rtsp://user:password@host``), and so do GStreamer pipelines (``user-pw=...``).
Over-redaction is accepted: a hidden path is a nuisance, a shown password is a leak.
"""

from __future__ import annotations

import re

HIDDEN = "***"

# RFC 3986, section 3.2.1. A password typed with a raw '/' or '@' is hidden as well: everything up to the last '@' goes.
_URL_PASSWORD = re.compile(r"(?P<start>[a-zA-Z][\w+.-]*://[^\s/:@\"']*):[^\s\"']*@")
_LOGIN = re.compile(r"(?P<start>(?<![\w.:/@-])[\w.-]+):(?!//)[^\s\"'@]+@(?=[\w\[])")
"""``user:password@host`` as people type it without a scheme."""
_KEY = r"[\w-]*(?:passw|passphrase|secret|token|api[_-]?key|user-pw|user_pw|credential)[\w-]*"
# "token=abc", "password: abc", '"password": "a b"'
_ASSIGNMENT = re.compile(
    rf"(?P<start>\b{_KEY}[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|(?!//)[^\s&,;\"']+)", re.IGNORECASE
)
_IS_KEY = re.compile(rf"{_KEY}\Z", re.IGNORECASE)


def redact(text: str) -> str:
    """``text`` with the passwords in URLs and the values of ``password=``, ``token=`` and the like as ``***``."""
    for address in (_URL_PASSWORD, _LOGIN):
        text = address.sub(rf"\g<start>:{HIDDEN}@", text)
    return _ASSIGNMENT.sub(rf"\g<start>{HIDDEN}", text)


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, so that its value is never shown."""
    return _IS_KEY.match(name) is not None
