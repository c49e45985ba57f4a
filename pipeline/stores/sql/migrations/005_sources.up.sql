-- What was captured of the source of a recording that is not done: dropped once it is final.
CREATE TABLE sources (
    recording_id uuid PRIMARY KEY REFERENCES recordings ON DELETE CASCADE,
    opened jsonb,
    is_complete boolean NOT NULL DEFAULT false,
    last_start_at timestamptz,
    problem text NOT NULL DEFAULT ''
);

CREATE TABLE findings (
    recording_id uuid NOT NULL REFERENCES recordings ON DELETE CASCADE,
    number integer NOT NULL,
    segments jsonb NOT NULL,
    PRIMARY KEY (recording_id, number)
);

-- What earlier releases had planned of their live recordings was found.
INSERT INTO findings (recording_id, number, segments)
SELECT recording_id, number, jsonb_build_array(spec -> 'main' -> 'segments') || coalesce((
    SELECT jsonb_agg(stretch -> 'segments' ORDER BY at)
    FROM jsonb_array_elements(spec -> 'audio') WITH ORDINALITY AS audio (stretch, at)
), '[]')
FROM chunks;

INSERT INTO sources (recording_id, opened)
SELECT recording_id, jsonb_build_object('ref', source, 'sounds', coalesce((
    SELECT jsonb_agg(stretch -> 'sound' ORDER BY at)
    FROM jsonb_array_elements(spec -> 'audio') WITH ORDINALITY AS audio (stretch, at)
), '[]'))
FROM chunks JOIN recordings ON recordings.id = recording_id WHERE number = 0;
