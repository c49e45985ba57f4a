-- The outbox of recording.events: written with the change that it tells of.
CREATE TABLE state_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recording_id uuid NOT NULL REFERENCES recordings ON DELETE CASCADE,
    status recording_status NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz
);

CREATE INDEX state_changes_recording ON state_changes (recording_id);
CREATE INDEX state_changes_unpublished ON state_changes (id) WHERE published_at IS NULL;

CREATE FUNCTION note_state_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.status IS DISTINCT FROM OLD.status THEN
        INSERT INTO state_changes (recording_id, status) VALUES (NEW.id, NEW.status);
    END IF;
    PERFORM pg_notify('recording_changes', NEW.id::text);
    RETURN NULL;
END
$$;

CREATE TRIGGER note_state_change AFTER INSERT OR UPDATE ON recordings
    FOR EACH ROW EXECUTE FUNCTION note_state_change();
