"""From what was read of faces to shares of people."""
