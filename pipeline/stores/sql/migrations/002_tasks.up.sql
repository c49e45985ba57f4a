-- The durable inbox: an event is acknowledged to its sender once it is here.
CREATE TABLE tasks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id uuid NOT NULL UNIQUE,
    event jsonb NOT NULL,
    recording_id uuid REFERENCES recordings ON DELETE SET NULL,
    outcome text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_at timestamptz
);

CREATE INDEX tasks_recording ON tasks (recording_id);
CREATE INDEX tasks_undecided ON tasks (id) WHERE decided_at IS NULL;
