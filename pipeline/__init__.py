"""Media and data: playlists, chunks, fragments, stitching, stores. Knows nothing of Ray or HTTP."""
