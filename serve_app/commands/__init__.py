"""One module per command; each exports ``command``. Imported only when its command is invoked."""
