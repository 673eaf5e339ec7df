"""The offline page: live percentages, their trend, and reading a picture. Needs the extra ``kiosk``."""

from edge_agent.kiosk.server import Kiosk

__all__ = ["Kiosk"]
