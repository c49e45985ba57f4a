DROP TABLE chunk_results;
DROP TABLE chunks;
DROP TABLE uploads;
