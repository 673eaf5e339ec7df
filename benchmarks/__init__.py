"""What the figures of README.md and docs/ come from; each runs as `python -m benchmarks.NAME`."""
