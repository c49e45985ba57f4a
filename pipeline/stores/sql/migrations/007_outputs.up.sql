-- A recording has several outputs, each an object of its own; without one: as before there were any.
ALTER TABLE uploads
ADD COLUMN number integer NOT NULL DEFAULT 0,
ADD COLUMN output jsonb;
