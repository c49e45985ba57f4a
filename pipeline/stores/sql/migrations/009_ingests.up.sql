-- Streams that are taken in: what a listener that starts anew needs to go on.
CREATE TABLE ingests (
    stream_id text PRIMARY KEY,
    stream_key text NOT NULL UNIQUE,
    secret text NOT NULL,
    port integer NOT NULL,
    asked_at timestamptz NOT NULL,
    user_id text,
    title text,
    phase text NOT NULL,
    broadcast text,
    runs integer NOT NULL,
    started_at timestamptz,
    resumed_at timestamptz,
    last_at timestamptz,
    is_start_told boolean NOT NULL,
    protocol text
);

-- What of the broadcast is in the bucket, or is lost.
CREATE TABLE ingest_segments (
    stream_id text NOT NULL REFERENCES ingests ON DELETE CASCADE,
    broadcast text NOT NULL,
    run integer NOT NULL,
    number integer NOT NULL,
    duration_s double precision NOT NULL,
    began_at timestamptz NOT NULL,
    is_gap boolean NOT NULL,
    PRIMARY KEY (stream_id, broadcast, run, number)
);
