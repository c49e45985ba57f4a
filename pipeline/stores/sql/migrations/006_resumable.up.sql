-- Completed, but its stream may be back: the ledger is still there.
ALTER TABLE recordings ADD COLUMN resumable boolean NOT NULL DEFAULT false;
