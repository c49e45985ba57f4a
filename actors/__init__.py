"""Ray actors: lifetime, placement and retries around the pipeline. Never media logic."""
