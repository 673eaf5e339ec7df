"""Every error that this project raises on purpose, and the exit code that each ends a command with.

::

    CountenanceError            1   (never raised itself)
    ├── InputError              3   a given picture, film or file cannot be read, or a copy cannot be written
    ├── CameraError             4   absent, busy or gone
    │   └── CameraStalledError  4   open, but silent for too long
    ├── DetectorError           5   detector file missing, wrong or unreadable
    ├── ModelError              6   model missing, truncated, not TFLite, or not as its JSON says
    ├── MissingPackageError     7   an optional package is not installed (also an ImportError)
    ├── BrokerError             8   broker unreachable, or it refused us
    ├── StoreError              9   the window store cannot be read or written
    ├── ListenError            10   the page or the metrics cannot listen on their address
    ├── UpdateError            11   models cannot be fetched, are not to be trusted, or do not work here
    └── ConfigError            78   the configuration is wrong (also a ValueError; 78 is sysexits' EX_CONFIG)

Other codes: 0 is success; for commands that run until they are stopped, so is a stop. 1 means that ``doctor`` found a
fault, 2 a wrong command line, 70 a defect of this program, and 130 Ctrl-C before another command was done.
docs/exit-codes.md has the table for users.
"""

from __future__ import annotations


class CountenanceError(Exception):
    """Base of all errors; ``str(error)`` is one line that says what is wrong, where, and what to do."""

    exit_code = 1


class InputError(CountenanceError):
    """A given picture, film or file cannot be read, or its annotated copy cannot be written."""

    exit_code = 3


class CameraError(CountenanceError):
    """The camera is absent, busy or gone."""

    exit_code = 4


class CameraStalledError(CameraError):
    """The camera is open and has been silent for too long."""


class DetectorError(CountenanceError):
    """The detector's file is missing, wrong or unreadable."""

    exit_code = 5


class ModelError(CountenanceError):
    """The model is missing, truncated, not TFLite, or not as its JSON says."""

    exit_code = 6


class MissingPackageError(CountenanceError, ImportError):
    """A package that this setting needs is not installed; the message names the install command."""

    exit_code = 7


class BrokerError(CountenanceError):
    """The MQTT broker is unreachable or refused us."""

    exit_code = 8


class StoreError(CountenanceError):
    """The window store cannot be read or written."""

    exit_code = 9


class ListenError(CountenanceError):
    """The page or the metrics cannot listen on their address. That may change, so it is not a ConfigError."""

    exit_code = 10


class UpdateError(CountenanceError):
    """Models cannot be fetched, are not to be trusted, or do not work here; what was in use stays in use."""

    exit_code = 11


class ConfigError(CountenanceError, ValueError):
    """The configuration is wrong; the message lists every fault at once."""

    exit_code = 78
