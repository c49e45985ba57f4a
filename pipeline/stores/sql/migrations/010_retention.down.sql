DROP TABLE source_objects;
DROP INDEX recordings_to_note;
ALTER TABLE recordings DROP COLUMN noted_at, DROP COLUMN keep;
