"""What the user of a command may read; the service's folder, for example, is closed to others."""

from __future__ import annotations

import os
from pathlib import Path


def is_barred(path: Path) -> bool:
    """Whether this user may not read ``path``, or may not even see whether it exists.

    ``Path.is_file()`` raises PermissionError below such a folder up to Python 3.13, and says False from 3.14 on.
    """
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(path, os.R_OK)
