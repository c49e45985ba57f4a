-- What is done of a recording that is not: dropped once it is final.
CREATE TABLE uploads (
    recording_id uuid NOT NULL REFERENCES recordings ON DELETE CASCADE,
    rendition text NOT NULL,
    key text NOT NULL,
    upload_id text NOT NULL,
    PRIMARY KEY (recording_id, rendition)
);

CREATE TABLE chunks (
    recording_id uuid NOT NULL REFERENCES recordings ON DELETE CASCADE,
    number integer NOT NULL,
    spec jsonb NOT NULL,
    PRIMARY KEY (recording_id, number)
);

CREATE TABLE chunk_results (
    recording_id uuid NOT NULL,
    number integer NOT NULL,
    rendition text NOT NULL,
    size_bytes bigint NOT NULL,
    part_number integer,
    part_etag text,
    part_size_bytes bigint,
    staging_key text,
    sample_index bytea NOT NULL,
    report jsonb NOT NULL,
    PRIMARY KEY (recording_id, number, rendition),
    FOREIGN KEY (recording_id, number) REFERENCES chunks ON DELETE CASCADE
);
