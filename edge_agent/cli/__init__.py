"""What people type: one file for each command of ``edge-agent``."""
