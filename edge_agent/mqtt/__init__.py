"""Everything that is said over MQTT and heard there."""
