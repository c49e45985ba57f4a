"""Benchmarks: vodray against its peers, in the same run on the same input."""
