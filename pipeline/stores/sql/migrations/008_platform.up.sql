-- Nobody sees it any more; the row stays, so that late word of its stream makes no new recording.
-- ``is_removed``: its objects are gone as well.
ALTER TABLE recordings
ADD COLUMN deleted_at timestamptz,
ADD COLUMN is_removed boolean NOT NULL DEFAULT false,
ADD COLUMN searched text GENERATED ALWAYS AS (
    lower(coalesce(title, '') || ' ' || stream_id || ' ' || id::text)
) STORED;

CREATE INDEX recordings_user_newest ON recordings (user_id, created_at DESC, id DESC);
CREATE INDEX recordings_to_remove ON recordings (deleted_at)
WHERE deleted_at IS NOT NULL AND NOT is_removed;
