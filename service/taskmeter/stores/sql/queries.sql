-- name: put_task
INSERT INTO tasks (token, tenant, node, executor, idempotency_key, spec_hash, spec, project_id, source, name, queue, priority,
                   state, outcome, attempt, create_time, end_time, seq, tags, metadata, detail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: set_task
UPDATE tasks SET idempotency_key = ?, priority = ?, state = ?, outcome = ?, attempt = ?, end_time = ?,
                 seq = max(seq, ?), tags = ?, metadata = ?, detail = ?
WHERE token = ? AND attempt = ? AND state = ?;

-- name: set_spec
UPDATE tasks SET spec = ? WHERE token = ?;

-- name: put_attempt
INSERT INTO attempts (token, number, node, boot_id, incarnation, launch_time, start_time, end_time, outcome, exit_code,
                      exit_signal, exit_message, cpu_ns, memory_byte_ns2, usage)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (token, number) DO UPDATE SET
    start_time = excluded.start_time, end_time = excluded.end_time, outcome = excluded.outcome,
    exit_code = excluded.exit_code, exit_signal = excluded.exit_signal, exit_message = excluded.exit_message,
    cpu_ns = excluded.cpu_ns, memory_byte_ns2 = excluded.memory_byte_ns2, usage = excluded.usage;

-- name: put_block
INSERT INTO events (first_seq, last_seq, time, tenant, node, token, tags, kinds, frames) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: delete_task
DELETE FROM tasks WHERE token = ?;

-- name: delete_attempts
DELETE FROM attempts WHERE token = ?;

-- name: put_meta
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: get_meta
SELECT value FROM meta WHERE key = ?;

-- name: get_task
SELECT t.tenant, t.node, t.executor, t.spec, t.spec_hash, t.create_time, t.priority, t.state, t.outcome, t.attempt,
       t.end_time, t.seq, t.tags, t.metadata, t.detail, t.token, a.usage, s.said_warnings, s.said_errors
FROM tasks t LEFT JOIN attempts a ON a.token = t.token AND a.number = t.attempt
     LEFT JOIN item_sets s ON s.token = t.token AND s.said_attempt = t.attempt WHERE t.token = ?;

-- name: live_tasks
SELECT t.tenant, t.node, t.executor, t.spec, t.spec_hash, t.create_time, t.priority, t.state, t.outcome, t.attempt,
       t.end_time, t.seq, t.tags, t.metadata, t.detail, t.token, a.usage, s.said_warnings, s.said_errors
FROM tasks t LEFT JOIN attempts a ON a.token = t.token AND a.number = t.attempt
     LEFT JOIN item_sets s ON s.token = t.token AND s.said_attempt = t.attempt WHERE t.state < 5 ORDER BY t.id;

-- name: task_of_key
SELECT t.tenant, t.node, t.executor, t.spec, t.spec_hash, t.create_time, t.priority, t.state, t.outcome, t.attempt,
       t.end_time, t.seq, t.tags, t.metadata, t.detail, t.token, a.usage, s.said_warnings, s.said_errors
FROM tasks t LEFT JOIN attempts a ON a.token = t.token AND a.number = t.attempt
     LEFT JOIN item_sets s ON s.token = t.token AND s.said_attempt = t.attempt WHERE t.tenant = ? AND t.idempotency_key = ?;

-- name: list_tasks
SELECT t.tenant, t.node, t.executor, t.spec, t.spec_hash, t.create_time, t.priority, t.state, t.outcome, t.attempt,
       t.end_time, t.seq, t.tags, t.metadata, t.detail, t.token, a.usage, s.said_warnings, s.said_errors
FROM tasks t LEFT JOIN attempts a ON a.token = t.token AND a.number = t.attempt
     LEFT JOIN item_sets s ON s.token = t.token AND s.said_attempt = t.attempt WHERE

-- name: count_tasks
SELECT count(*) FROM tasks t WHERE

-- name: read_blocks
SELECT first_seq, last_seq, token, tags, kinds, frames, tenant FROM events WHERE first_seq >= ? ORDER BY first_seq LIMIT ?;

-- name: block_holding
SELECT max(first_seq) FROM events WHERE first_seq <= ?;

-- name: read_blocks_of_task
SELECT first_seq, last_seq, token, tags, kinds, frames, tenant FROM events
WHERE token = ?1 AND first_seq >= coalesce((SELECT max(first_seq) FROM events WHERE token = ?1 AND first_seq <= ?2), ?2)
ORDER BY first_seq LIMIT ?3;

-- name: put_queue
INSERT INTO queues (tenant, name, max_running, max_waiting, paused, create_time) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, name) DO UPDATE SET
    max_running = excluded.max_running, max_waiting = excluded.max_waiting, paused = excluded.paused;

-- name: delete_queue
DELETE FROM queues WHERE tenant = ? AND name = ?;

-- name: queues
SELECT tenant, name, max_running, max_waiting, paused, create_time FROM queues ORDER BY tenant, name;
-- name: ended_tasks
SELECT t.token, t.outcome, t.end_time, t.idempotency_key IS NOT NULL, coalesce(s.size_bytes, -1), t.attempt
FROM tasks t LEFT JOIN task_sizes s ON s.token = t.token AND s.attempt = t.attempt
WHERE t.state >= 5 AND (t.end_time, t.token) > (?, ?) ORDER BY t.end_time, t.token LIMIT ?;

-- name: unmeasured_tasks
SELECT t.token, t.attempt FROM tasks t WHERE t.state >= 5 AND NOT EXISTS
    (SELECT 1 FROM task_sizes s WHERE s.token = t.token AND s.attempt = t.attempt) LIMIT ?;

-- name: count_ended
SELECT count(*) FROM tasks WHERE state >= 5;

-- name: bytes_of_ended
SELECT coalesce(sum(s.size_bytes), 0) FROM tasks t JOIN task_sizes s ON s.token = t.token AND s.attempt = t.attempt
WHERE t.state >= 5;

-- name: put_size
INSERT INTO task_sizes (token, attempt, size_bytes) VALUES (?, ?, ?)
ON CONFLICT (token) DO UPDATE SET attempt = excluded.attempt, size_bytes = excluded.size_bytes;

-- name: delete_size
DELETE FROM task_sizes WHERE token = ?;

-- name: oldest_blocks
SELECT last_seq, time FROM events ORDER BY first_seq LIMIT ?;

-- name: delete_blocks
DELETE FROM events WHERE first_seq <= ?;

-- name: put_log_start
INSERT INTO log_starts (token, attempt, name, first_available) VALUES (?, ?, ?, ?)
ON CONFLICT (token, attempt, name) DO UPDATE SET first_available = excluded.first_available;

-- name: log_starts
SELECT token, attempt, name, first_available FROM log_starts;

-- name: delete_log_starts
DELETE FROM log_starts WHERE token = ?;

-- name: schedules
SELECT tenant, name, spec, detail FROM schedules ORDER BY tenant, name;

-- name: put_schedule
INSERT INTO schedules (tenant, name, spec, detail) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant, name) DO UPDATE SET spec = excluded.spec, detail = excluded.detail;

-- name: delete_schedule
DELETE FROM schedules WHERE tenant = ? AND name = ?;

-- name: touch_task
UPDATE tasks SET seq = max(seq, ?) WHERE token = ?;

-- name: item_set
SELECT id, last_seq, event_count, queued_count, in_progress_count, completed_count, failed_count, retrying_count, skipped_count,
       note_count, warning_count, error_count, log_count, said_attempt, said_warnings, said_errors
FROM item_sets WHERE token = ?;

-- name: new_item_set
INSERT INTO item_sets VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

-- name: set_item_set
UPDATE item_sets SET last_seq = ?, event_count = ?, queued_count = ?, in_progress_count = ?, completed_count = ?,
                     failed_count = ?, retrying_count = ?, skipped_count = ?, note_count = ?, warning_count = ?, error_count = ?,
                     log_count = ?, said_attempt = ?, said_warnings = ?, said_errors = ?
WHERE id = ?;

-- name: forget_item_set
UPDATE item_sets SET token = NULL WHERE token = ?;

-- name: item_sets_of_live
SELECT s.token, s.last_seq FROM item_sets s JOIN tasks t ON t.token = s.token WHERE t.state < 5;

-- name: states_of_items
SELECT key, stage, status FROM items WHERE set_id = ? AND key = ?;

-- name: put_item
INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (set_id, key) DO UPDATE SET
    stage = excluded.stage, status = excluded.status, attempt = excluded.attempt, error = excluded.error,
    worker = excluded.worker, size = CASE excluded.size WHEN 0 THEN size ELSE excluded.size END,
    metadata = CASE excluded.metadata WHEN '{}' THEN metadata ELSE excluded.metadata END,
    time = excluded.time, event_count = event_count + excluded.event_count,
    history = substr(CAST(history || excluded.history AS BLOB), -6000);

-- name: touch_item
UPDATE items SET time = ?, event_count = event_count + ?, history = substr(CAST(history || ? AS BLOB), -6000)
WHERE set_id = ? AND key = ?;

-- name: add_item_stats
INSERT INTO item_stats VALUES (?, ?, ?, ?) ON CONFLICT (set_id, stage, status) DO UPDATE SET count = count + excluded.count;

-- name: drop_item_stats
DELETE FROM item_stats WHERE set_id = ? AND stage = ? AND status = ? AND count <= 0;

-- name: put_message
INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?);

-- name: drop_messages
DELETE FROM messages WHERE set_id = ? AND level = ? AND number <= ?;

-- name: newest_messages
SELECT time, attempt, text FROM messages WHERE set_id = ? AND level = ? AND attempt >= ? ORDER BY number DESC LIMIT ?;

-- name: put_offset
INSERT INTO ingest_offsets VALUES (?, ?, ?, ?) ON CONFLICT (token, attempt, segment) DO UPDATE SET offset = excluded.offset;

-- name: drop_offset
DELETE FROM ingest_offsets WHERE token = ? AND attempt = ? AND segment = ?;

-- name: drop_offsets
DELETE FROM ingest_offsets WHERE token = ? AND attempt = ?;

-- name: drop_offsets_of_task
DELETE FROM ingest_offsets WHERE token = ?;

-- name: offsets
SELECT segment, offset FROM ingest_offsets WHERE token = ? AND attempt = ?;

-- name: attempts_with_offsets
SELECT DISTINCT token, attempt FROM ingest_offsets;

-- name: get_item
SELECT key, stage, status, attempt, error, worker, size, metadata, time, event_count FROM items WHERE set_id = ? AND key = ?;

-- name: list_items
SELECT key, stage, status, attempt, error, worker, size, metadata, time, event_count FROM items
WHERE set_id = ?1 AND key > ?2 AND key <= ?3 AND (?4 = '' OR stage = ?4) ORDER BY key LIMIT ?5;

-- name: list_items_done
SELECT key, stage, status, attempt, error, worker, size, metadata, time, event_count FROM items
WHERE set_id = ?1 AND status = 3 AND key > ?2 AND key <= ?3 AND (?4 = '' OR stage = ?4) ORDER BY key LIMIT ?5;

-- name: list_items_of_status
SELECT key, stage, status, attempt, error, worker, size, metadata, time, event_count FROM items
WHERE set_id = ?1 AND status = ?6 AND status <> 3 AND key > ?2 AND key <= ?3 AND (?4 = '' OR stage = ?4)
ORDER BY key LIMIT ?5;

-- name: key_further_on
SELECT key FROM items WHERE set_id = ? AND key > ? ORDER BY key LIMIT 1 OFFSET ?;

-- name: key_further_on_of_status
SELECT key FROM items WHERE set_id = ?1 AND status = ?2 AND status <> 3 AND key > ?3 ORDER BY key LIMIT 1 OFFSET ?4;

-- name: stages_of_items
SELECT stage, status, count FROM item_stats WHERE set_id = ? ORDER BY stage, status LIMIT ?;

-- name: history_of_item
SELECT event_count, history FROM items WHERE set_id = ? AND key = ?;

-- name: block_of_seq
SELECT first_seq, last_seq, frames FROM events
WHERE first_seq = (SELECT max(first_seq) FROM events WHERE first_seq <= ?);

-- name: deleted_item_set
SELECT id FROM item_sets WHERE token IS NULL LIMIT 1;

-- name: purge_items
DELETE FROM items WHERE set_id = ?1 AND key <= coalesce(
    (SELECT key FROM items WHERE set_id = ?1 ORDER BY key LIMIT 1 OFFSET ?2), (SELECT max(key) FROM items WHERE set_id = ?1));

-- name: purge_item_stats
DELETE FROM item_stats WHERE set_id = ?;

-- name: purge_messages
DELETE FROM messages WHERE set_id = ?;

-- name: purge_item_set
DELETE FROM item_sets WHERE id = ?;
