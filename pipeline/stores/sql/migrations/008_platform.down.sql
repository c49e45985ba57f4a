DROP TABLE audit;
DROP TABLE revoked_tokens;
DROP TABLE videos;

DELETE FROM recordings WHERE deleted_at IS NOT NULL;

DROP INDEX recordings_to_remove;
DROP INDEX recordings_user_newest;
ALTER TABLE recordings DROP COLUMN searched, DROP COLUMN is_removed, DROP COLUMN deleted_at;
