"""Live ingest without Ray or HTTP: what publishers send becomes HLS as an encoder makes it."""
