DROP TABLE reports;
DROP TABLE object_names;
DROP TABLE recordings;
DROP TYPE recording_status;
