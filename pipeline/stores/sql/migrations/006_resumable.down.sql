ALTER TABLE recordings DROP COLUMN resumable;
