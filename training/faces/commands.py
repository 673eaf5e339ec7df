"""What the command lines of the detector's training and of its quantization have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option that names the scenes."""
    shared = Path(os.environ.get("COUNTENANCE_SHARED", "../shared")) / "data"
    parser.add_argument("--data", type=Path, default=shared / "face_scenes.zip", help="the scenes (%(default)s)")
