"""Reading and writing media: bytes in, bytes and sample indexes out."""
