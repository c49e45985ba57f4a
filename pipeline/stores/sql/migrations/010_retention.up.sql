-- ``keep``: never deleted for its age. ``noted_at``: when what the bucket says of it was written.
ALTER TABLE recordings
ADD COLUMN keep boolean NOT NULL DEFAULT false,
ADD COLUMN noted_at timestamptz;

CREATE INDEX recordings_to_note ON recordings (updated_at)
WHERE status = 'completed' AND deleted_at IS NULL
AND (noted_at IS NULL OR noted_at < updated_at);

-- What the playlists of a completed recording named, by key with the ETag, until it is deleted.
-- Not jsonb, which would put it into another order.
CREATE TABLE source_objects (
    recording_id uuid PRIMARY KEY REFERENCES recordings ON DELETE CASCADE,
    objects json NOT NULL
);
