"""Real HLS inputs, which stay outside of the repository: see ``cases.VARIABLE``."""
