"""The machine below: clock, sensors, systemd, logs, sockets and rights."""
