-- Nobody sees it any more; the row stays, so that late word of its stream makes no new recording.
-- ``is_removed``: its objects are gone as well.
ALTER TABLE recordings
ADD COLUMN deleted_at timestamptz,
ADD COLUMN is_removed boolean NOT NULL DEFAULT false,
ADD COLUMN searched text GENERATED ALWAYS AS (
    lower(coalesce(title, '') || ' ' || stream_id || ' ' || id::text)
) STORED;

CREATE INDEX recordings_user_newest ON recordings (user_id, created_at DESC, id DESC);
CREATE INDEX recordings_to_remove ON recordings (deleted_at)
WHERE deleted_at IS NOT NULL AND NOT is_removed;

-- The catalogue of what is shown to viewers.
CREATE TABLE videos (
    id uuid PRIMARY KEY,
    recording_id uuid REFERENCES recordings ON DELETE SET NULL,
    user_id text,
    title text NOT NULL,
    description text NOT NULL,
    category text NOT NULL,
    visibility text NOT NULL CHECK (visibility IN ('public', 'unlisted', 'private')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    views bigint NOT NULL DEFAULT 0,
    bytes_served bigint NOT NULL DEFAULT 0,
    searched text GENERATED ALWAYS AS (
        lower(title || ' ' || description || ' ' || category)
    ) STORED
);

CREATE UNIQUE INDEX videos_recording ON videos (recording_id);
CREATE INDEX videos_newest ON videos (created_at DESC, id DESC);

-- Until they expire by themselves.
CREATE TABLE revoked_tokens (
    token_hash bytea PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- Who changed what; never changed itself.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    address text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    details jsonb NOT NULL
);

CREATE INDEX audit_subject ON audit (subject);
