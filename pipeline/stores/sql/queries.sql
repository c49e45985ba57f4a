-- Named statements: a line "-- name:" and the statement. {recording} stands for the columns that a
-- Recording is read from (catalog_rows.py).

-- lock_keys:
SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key

-- add_tasks:
-- The locks first, by the condition that is true once they are held: one round trip for both.
WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(key) FROM unnest($3::bigint[]) AS key)
INSERT INTO tasks (request_id, event, outcome)
SELECT request_id, event::jsonb, ''
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS new (request_id, event, number)
WHERE (SELECT count(*) FROM locked) >= 0
ORDER BY number
ON CONFLICT (request_id) DO NOTHING
RETURNING id, request_id, received_at AS now

-- tasks_of_requests:
SELECT id, request_id, recording_id, outcome FROM tasks WHERE request_id = ANY($1::uuid[])

-- task:
SELECT id, event, recording_id, outcome, decided_at, clock_timestamp() AS now
FROM tasks WHERE id = $1

-- settle_tasks:
UPDATE tasks SET
    recording_id = settled.recording_id,
    outcome = settled.outcome,
    decided_at = CASE WHEN settled.is_decided THEN clock_timestamp() END
FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::boolean[])
    AS settled (id, recording_id, outcome, is_decided)
WHERE tasks.id = settled.id

-- undecided_tasks:
SELECT id, event FROM tasks WHERE decided_at IS NULL ORDER BY id

-- known_recordings:
SELECT {recording} FROM recordings WHERE id IN (
    SELECT newest.id FROM unnest($1::text[], $2::text[]) AS asked (stream_id, stream_key)
    CROSS JOIN LATERAL (
        SELECT r.id FROM recordings AS r
        WHERE r.stream_id = asked.stream_id OR r.stream_key = asked.stream_key
        ORDER BY r.created_at DESC, r.id DESC LIMIT $3
    ) AS newest
)
ORDER BY created_at DESC, id DESC FOR NO KEY UPDATE

-- recording:
SELECT {recording} FROM recordings WHERE id = $1 AND deleted_at IS NULL

-- any_recording:
SELECT {recording} FROM recordings WHERE id = $1

-- recording_for_update:
SELECT {recording} FROM recordings WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE

-- recordings_to_remove:
SELECT {recording} FROM recordings WHERE deleted_at IS NOT NULL AND NOT is_removed
ORDER BY deleted_at, id

-- mark_removed:
UPDATE recordings SET is_removed = true WHERE id = $1 AND deleted_at IS NOT NULL

-- has_ledger:
SELECT EXISTS (SELECT FROM sources WHERE recording_id = $1)
    OR EXISTS (SELECT FROM uploads WHERE recording_id = $1)
    OR EXISTS (SELECT FROM findings WHERE recording_id = $1)
    OR EXISTS (SELECT FROM chunks WHERE recording_id = $1)

-- unfinished_recordings:
SELECT {recording} FROM recordings WHERE status IN ('recording', 'processing')
ORDER BY created_at, id

-- tally:
SELECT
    status,
    count(*) AS recordings,
    sum(file_size)::bigint AS file_size,
    extract(epoch FROM clock_timestamp() - min(updated_at))::double precision AS unchanged_s
FROM recordings WHERE deleted_at IS NULL GROUP BY status

-- recordings_to_supervise:
SELECT {recording} FROM recordings JOIN sources ON recording_id = id
WHERE status IN ('recording', 'processing')
ORDER BY created_at, id

-- changed_recordings:
SELECT id FROM recordings WHERE updated_at >= $1

-- save_recording:
INSERT INTO recordings (
    id, stream_id, stream_key, user_id, title, video_id, file_path, thumbnail_path, duration,
    file_size, status, started_at, completed_at, created_at, profile, source, ended_at, end_reason,
    last_start_at, object_name, fingerprint, progress, gaps, renditions, error,
    publishing, resumable, deleted_at, keep
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, $24, $25, $26, $27, $28, $29
)
ON CONFLICT (id) DO UPDATE SET
    stream_key = EXCLUDED.stream_key,
    user_id = EXCLUDED.user_id,
    title = EXCLUDED.title,
    video_id = EXCLUDED.video_id,
    file_path = EXCLUDED.file_path,
    thumbnail_path = EXCLUDED.thumbnail_path,
    duration = EXCLUDED.duration,
    file_size = EXCLUDED.file_size,
    status = EXCLUDED.status,
    started_at = EXCLUDED.started_at,
    completed_at = EXCLUDED.completed_at,
    updated_at = clock_timestamp(),
    source = EXCLUDED.source,
    ended_at = EXCLUDED.ended_at,
    end_reason = EXCLUDED.end_reason,
    last_start_at = EXCLUDED.last_start_at,
    object_name = EXCLUDED.object_name,
    fingerprint = EXCLUDED.fingerprint,
    progress = EXCLUDED.progress,
    gaps = EXCLUDED.gaps,
    renditions = EXCLUDED.renditions,
    error = EXCLUDED.error,
    publishing = EXCLUDED.publishing,
    resumable = EXCLUDED.resumable,
    deleted_at = EXCLUDED.deleted_at,
    keep = EXCLUDED.keep
RETURNING updated_at

-- is_repeat:
SELECT EXISTS (
    SELECT FROM recordings AS other
    WHERE other.fingerprint = $2 AND other.status <> 'failed'
    AND (other.created_at, other.id) < (mine.created_at, mine.id)
    AND (other.stream_id = mine.stream_id OR other.stream_key = mine.stream_key)
) AS is_repeat
FROM recordings AS mine WHERE mine.id = $1

-- claim_name:
INSERT INTO object_names (name, recording_id) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING
RETURNING name

-- save_report:
INSERT INTO reports (recording_id, report) VALUES ($1, $2)
ON CONFLICT (recording_id) DO UPDATE SET report = EXCLUDED.report

-- report:
SELECT report FROM recordings LEFT JOIN reports ON recording_id = id
WHERE id = $1 AND deleted_at IS NULL

-- recordings_to_capture:
SELECT {recording} FROM recordings LEFT JOIN sources AS source ON source.recording_id = id
WHERE status IN ('recording', 'processing') AND NOT publishing AND (
    source.recording_id IS NULL OR NOT source.is_complete
    OR source.last_start_at IS DISTINCT FROM recordings.last_start_at
) AND ($1::uuid[] IS NULL OR id = ANY($1))
ORDER BY created_at, id

-- open_source:
INSERT INTO sources (recording_id, opened)
SELECT id, $2 FROM recordings WHERE id = $1 AND status IN ('recording', 'processing')
ON CONFLICT (recording_id) DO UPDATE SET
    opened = EXCLUDED.opened, is_complete = false, last_start_at = NULL, problem = ''
RETURNING recording_id

-- close_source:
INSERT INTO sources (recording_id, is_complete, last_start_at, problem)
SELECT id, true, $2, $3 FROM recordings WHERE id = $1 AND status IN ('recording', 'processing')
ON CONFLICT (recording_id) DO UPDATE SET
    is_complete = true, last_start_at = EXCLUDED.last_start_at, problem = EXCLUDED.problem
RETURNING recording_id

-- source_state:
SELECT opened, is_complete, last_start_at, problem FROM sources WHERE recording_id = $1

-- add_finding:
INSERT INTO findings (recording_id, number, segments)
SELECT id, $2, $3 FROM recordings WHERE id = $1 AND status IN ('recording', 'processing')
ON CONFLICT (recording_id, number) DO UPDATE SET segments = EXCLUDED.segments
WHERE findings.segments = EXCLUDED.segments
RETURNING number

-- findings:
SELECT number, segments FROM findings WHERE recording_id = $1 AND number >= $2 ORDER BY number

-- save_upload:
INSERT INTO uploads (recording_id, rendition, key, upload_id, number, output)
SELECT id, $2, $3, $4, $5, $6
FROM recordings WHERE id = $1 AND status IN ('recording', 'processing')
ON CONFLICT (recording_id, rendition) DO UPDATE SET
    key = EXCLUDED.key,
    upload_id = EXCLUDED.upload_id,
    number = EXCLUDED.number,
    output = EXCLUDED.output
RETURNING recording_id

-- uploads:
SELECT key, upload_id, number, output FROM uploads WHERE recording_id = $1 ORDER BY number

-- plan_chunk:
INSERT INTO chunks (recording_id, number, spec)
SELECT id, $2, $3 FROM recordings WHERE id = $1 AND status IN ('recording', 'processing')
ON CONFLICT (recording_id, number) DO UPDATE SET spec = EXCLUDED.spec
WHERE chunks.spec = EXCLUDED.spec OR NOT EXISTS (
    SELECT FROM chunk_results AS result
    WHERE result.recording_id = chunks.recording_id AND result.number = chunks.number
)
RETURNING number

-- planned_chunks:
SELECT spec FROM chunks WHERE recording_id = $1 ORDER BY number

-- finish_chunk:
INSERT INTO chunk_results (
    recording_id, number, rendition, size_bytes, part_number, part_etag, part_size_bytes,
    staging_key, sample_index, report
)
SELECT id, number, $3, $4, $5, $6, $7, $8, $9, $10
FROM recordings JOIN chunks ON recording_id = id
WHERE id = $1 AND number = $2 AND status IN ('recording', 'processing')
ON CONFLICT (recording_id, number, rendition) DO UPDATE SET
    size_bytes = EXCLUDED.size_bytes,
    part_number = EXCLUDED.part_number,
    part_etag = EXCLUDED.part_etag,
    part_size_bytes = EXCLUDED.part_size_bytes,
    staging_key = EXCLUDED.staging_key,
    sample_index = EXCLUDED.sample_index,
    report = EXCLUDED.report
RETURNING number

-- forget_parts:
DELETE FROM chunk_results USING recordings
WHERE recording_id = $1 AND recordings.id = $1 AND status IN ('recording', 'processing')
AND number IN (
    SELECT number FROM chunk_results WHERE recording_id = $1 AND part_number IS NOT NULL
)
RETURNING number

-- finished_chunks:
SELECT
    number, rendition, size_bytes, part_number, part_etag, part_size_bytes, staging_key,
    sample_index, report
FROM chunk_results WHERE recording_id = $1 ORDER BY number, rendition

-- chunk_outlines:
SELECT
    number AS index,
    (spec #>> '{main,start_s}')::double precision AS start_s,
    (
        SELECT coalesce(sum((segment ->> 'duration_s')::double precision), 0)
        FROM jsonb_array_elements(spec #> '{main,segments}') AS segment
    ) AS media_s
FROM chunks WHERE recording_id = $1 AND number >= $2 ORDER BY number

-- chunk_outcomes:
SELECT
    number AS index,
    sum(size_bytes)::bigint AS size_bytes,
    coalesce(
        (array_agg(report - 'tiles') FILTER (WHERE report ? 'lost'))[1], '{}'
    ) AS report
FROM chunk_results WHERE recording_id = $1 AND number = ANY($2::integer[])
GROUP BY number ORDER BY number

-- settleable_recordings:
SELECT {recording} FROM recordings
WHERE id IN (SELECT recording_id FROM sources UNION SELECT recording_id FROM uploads)
AND status IN ('completed', 'failed') AND deleted_at IS NULL
AND (NOT resumable OR recordings.updated_at < clock_timestamp() - $1::interval)

-- forget_ledger:
WITH dropped AS (DELETE FROM uploads WHERE recording_id = $1),
closed AS (DELETE FROM sources WHERE recording_id = $1),
forgotten AS (DELETE FROM findings WHERE recording_id = $1)
DELETE FROM chunks WHERE recording_id = $1

-- unpublished_changes:
-- By key, whatever the planner believes of tables that are growing: it would read all recordings.
SELECT change.id AS change_id, change.status AS new_status, change.changed_at, its.*
FROM (
    SELECT * FROM state_changes WHERE published_at IS NULL ORDER BY id LIMIT $1
) AS change CROSS JOIN LATERAL (
    SELECT {recording} FROM recordings WHERE id = change.recording_id OFFSET 0
) AS its
ORDER BY change.id

-- mark_published:
UPDATE state_changes SET published_at = clock_timestamp() WHERE id = ANY($1::bigint[])

-- add_video:
INSERT INTO videos (id, recording_id, user_id, title, description, category, visibility)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (recording_id) DO UPDATE SET recording_id = EXCLUDED.recording_id
RETURNING *

-- video:
SELECT * FROM videos WHERE id = $1

-- change_video:
UPDATE videos SET
    title = coalesce($2, title),
    description = coalesce($3, description),
    category = coalesce($4, category),
    visibility = coalesce($5, visibility),
    updated_at = clock_timestamp()
WHERE id = $1 RETURNING *

-- delete_video:
DELETE FROM videos WHERE id = $1

-- count_served:
UPDATE videos SET views = views + $2, bytes_served = bytes_served + $3 WHERE recording_id = $1

-- revoke:
WITH expired AS (DELETE FROM revoked_tokens WHERE expires_at < clock_timestamp())
INSERT INTO revoked_tokens (token_hash, expires_at) VALUES ($1, $2)
ON CONFLICT (token_hash) DO NOTHING

-- revoked:
SELECT 1 FROM revoked_tokens WHERE token_hash = $1

-- note_change:
INSERT INTO audit (actor, address, action, subject, details) VALUES ($1, $2, $3, $4, $5)

-- ingests:
SELECT {ingest} FROM ingests ORDER BY asked_at, stream_id

-- save_ingest:
INSERT INTO ingests ({ingest}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (stream_id) DO UPDATE SET
    stream_key = EXCLUDED.stream_key,
    secret = EXCLUDED.secret,
    port = EXCLUDED.port,
    asked_at = EXCLUDED.asked_at,
    user_id = EXCLUDED.user_id,
    title = EXCLUDED.title,
    phase = EXCLUDED.phase,
    broadcast = EXCLUDED.broadcast,
    runs = EXCLUDED.runs,
    started_at = EXCLUDED.started_at,
    resumed_at = EXCLUDED.resumed_at,
    last_at = EXCLUDED.last_at,
    is_start_told = EXCLUDED.is_start_told,
    protocol = EXCLUDED.protocol

-- forget_ingest:
DELETE FROM ingests WHERE stream_id = $1

-- forget_earlier_segments:
DELETE FROM ingest_segments WHERE stream_id = $1 AND broadcast IS DISTINCT FROM $2

-- add_ingest_segment:
INSERT INTO ingest_segments (stream_id, broadcast, run, number, duration_s, began_at, is_gap)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (stream_id, broadcast, run, number) DO NOTHING

-- ingest_segments:
SELECT run, number, duration_s, began_at, is_gap FROM ingest_segments
WHERE stream_id = $1 AND broadcast = $2 ORDER BY run, number

-- has_task:
SELECT EXISTS (SELECT FROM tasks WHERE event = $1::jsonb)

-- expired_recordings:
SELECT {recording} FROM recordings
WHERE status IN ('completed', 'failed') AND NOT resumable AND NOT keep AND deleted_at IS NULL
AND coalesce(completed_at, created_at) < $1
ORDER BY coalesce(completed_at, created_at), id LIMIT $2

-- recordings_to_note:
SELECT {recording} FROM recordings
WHERE status = 'completed' AND deleted_at IS NULL AND (noted_at IS NULL OR noted_at < updated_at)
ORDER BY updated_at LIMIT $1

-- mark_noted:
UPDATE recordings SET noted_at = $2 WHERE id = $1

-- has_recording:
SELECT id FROM recordings WHERE id = $1

-- owner_of_name:
SELECT recording_id FROM object_names WHERE name = $1

-- tell_nobody:
UPDATE state_changes SET published_at = clock_timestamp()
WHERE recording_id = $1 AND published_at IS NULL

-- save_source_objects:
INSERT INTO source_objects (recording_id, objects) VALUES ($1, $2)
ON CONFLICT (recording_id) DO UPDATE SET objects = EXCLUDED.objects

-- source_objects_due:
SELECT source.objects, {recording}
FROM source_objects AS source JOIN recordings ON recordings.id = source.recording_id
WHERE recordings.status = 'completed' AND recordings.deleted_at IS NULL
AND recordings.completed_at < $1 AND NOT recordings.resumable
AND NOT EXISTS (
    SELECT FROM recordings AS other WHERE other.status IN ('recording', 'processing') AND (
        other.stream_id = recordings.stream_id
        OR other.stream_key = recordings.stream_key
        OR other.source = recordings.source
    )
)
AND NOT EXISTS (
    SELECT FROM tasks WHERE tasks.decided_at IS NULL AND (
        tasks.event ->> 'stream_id' = recordings.stream_id
        OR tasks.event ->> 'stream_key' = recordings.stream_key
    )
)
ORDER BY recordings.completed_at LIMIT $2

-- forget_source_objects:
DELETE FROM source_objects WHERE recording_id = $1

-- owners_of_names:
SELECT
    name,
    recordings.renditions,
    recordings.id IS NULL OR recordings.is_removed OR coalesce(
        recordings.status = 'failed' AND recordings.file_path IS NULL
        AND recordings.updated_at < $2::timestamptz, false
    ) AS is_gone
FROM object_names LEFT JOIN recordings ON recordings.id = object_names.recording_id
WHERE name = ANY($1::text[])

-- prune_tasks:
DELETE FROM tasks
WHERE id IN (SELECT id FROM tasks ORDER BY id LIMIT $2) AND decided_at < $1
RETURNING id

-- prune_changes:
DELETE FROM state_changes
WHERE id IN (SELECT id FROM state_changes ORDER BY id LIMIT $3)
AND (published_at < $1 OR changed_at < $2)
RETURNING id

-- prune_audit:
DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT $2) AND at < $1
RETURNING id

-- prune_recordings:
DELETE FROM recordings
WHERE id IN (SELECT id FROM recordings WHERE is_removed AND deleted_at < $1 LIMIT $2)
RETURNING id
