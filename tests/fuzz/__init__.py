"""Damaged inputs through the media core, in child processes: ``python -m tests.fuzz --help``."""
