"""The routes, one module per noun; each exports ``router``."""
