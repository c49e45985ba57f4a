DROP TABLE ingest_segments;
DROP TABLE ingests;
