"""Looks every installed package up in PyPI's advisories with pip-audit: ``make audit``.

Where the service cannot be reached, it says so by name and ends with 0: a build without internet is no fault.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request

SERVICE = "https://pypi.org/pypi/pip/24.0/json"
"""One entry of the service that pip-audit asks; a mirror of packages alone does not have it."""


def main() -> int:
    """Run pip-audit on this environment; its exit code, or 0 where nobody answers."""
    try:
        with urllib.request.urlopen(SERVICE, timeout=10):
            pass
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"audit: NOT DONE: the advisory service {SERVICE.split('/')[2]} cannot be reached ({error})")
        return 0
    return subprocess.call([sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner=off"])


if __name__ == "__main__":
    sys.exit(main())
