"""The windows on the disk: the page's past and MQTT's outbox in one table."""

from edge_agent.store.store import Store, StoreStats, open_store

__all__ = ["Store", "StoreStats", "open_store"]
