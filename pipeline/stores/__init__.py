"""Object store and catalogue, each behind one small interface with an in-memory twin."""
