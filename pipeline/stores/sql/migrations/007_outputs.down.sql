ALTER TABLE uploads DROP COLUMN number, DROP COLUMN output;
