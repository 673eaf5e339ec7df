"""Proofs that boot systems, emulate ARM or run for a long time: ``make test-device``, as root on Debian."""
