"""Everything that is sent and received over MQTT."""
