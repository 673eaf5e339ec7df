"""Many devices: collect their windows, pool their shares, show them. Broker and database are engines that exist.

It knows the devices by docs/mqtt.md alone, and shares by docs/shares.md and :mod:`edge_agent.shares`.
"""
