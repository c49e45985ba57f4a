DROP TRIGGER note_state_change ON recordings;
DROP FUNCTION note_state_change;
DROP TABLE state_changes;
