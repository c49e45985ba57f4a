"""What a stream is and what would become of it, without making it."""
