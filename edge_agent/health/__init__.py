"""How the device is doing: counters, the summary on MQTT and Prometheus."""
