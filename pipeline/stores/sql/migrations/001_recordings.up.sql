CREATE TYPE recording_status AS ENUM ('recording', 'processing', 'completed', 'failed');

CREATE TABLE recordings (
    id uuid PRIMARY KEY,
    stream_id text NOT NULL,
    stream_key text,
    user_id text,
    title text,
    video_id uuid,
    file_path text,
    thumbnail_path text,
    duration integer NOT NULL DEFAULT 0 CHECK (duration >= 0),
    file_size bigint NOT NULL DEFAULT 0 CHECK (file_size >= 0),
    status recording_status NOT NULL DEFAULT 'recording',
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    profile text NOT NULL,
    source text,
    ended_at timestamptz,
    end_reason text,
    last_start_at timestamptz,
    object_name text UNIQUE,
    fingerprint text,
    progress jsonb NOT NULL DEFAULT '{}',
    gaps jsonb NOT NULL DEFAULT '[]',
    renditions jsonb NOT NULL DEFAULT '[]',
    error text,
    publishing boolean NOT NULL DEFAULT false
);

CREATE INDEX recordings_stream_id ON recordings (stream_id);
CREATE INDEX recordings_stream_key ON recordings (stream_key);
CREATE INDEX recordings_status ON recordings (status);
CREATE INDEX recordings_video_id ON recordings (video_id);
CREATE INDEX recordings_fingerprint ON recordings (fingerprint);
CREATE INDEX recordings_newest ON recordings (created_at DESC, id DESC);

-- Outlives its recording: a link to a deleted result must never show another broadcast.
CREATE TABLE object_names (
    name text PRIMARY KEY,
    recording_id uuid NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE reports (
    recording_id uuid PRIMARY KEY REFERENCES recordings ON DELETE CASCADE,
    report jsonb NOT NULL
);
