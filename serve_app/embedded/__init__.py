"""PostgreSQL, S3 and Kafka of our own, started for whatever the environment does not name.

Everything listens on loopback only, keeps its data below one data directory and ends with us.
"""

from serve_app.embedded.services import EmbeddedServices, start_missing

__all__ = ["EmbeddedServices", "start_missing"]
