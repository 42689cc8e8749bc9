-- name: put_task
INSERT INTO tasks (token, tenant, node, executor, idempotency_key, spec_hash, spec, project_id, source, name, queue, priority,
                   state, outcome, attempt, create_time, end_time, seq, tags, metadata, detail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: set_task
UPDATE tasks SET idempotency_key = ?, priority = ?, state = ?, outcome = ?, attempt = ?, end_time = ?, seq = ?, tags = ?,
                 metadata = ?, detail = ?
WHERE token = ?;

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
       t.end_time, t.seq, t.tags, t.metadata, t.detail, t.token, a.usage
FROM tasks t LEFT JOIN attempts a ON a.token = t.token AND a.number = t.attempt WHERE t.token = ?;

-- name: live_tasks
SELECT t.tenant, t.node, t.executor, t.spec, t.spec_hash, t.create_time, t.priority, t.state, t.outcome, t.attempt,
       t.end_time, t.seq, t.tags, t.metadata, t.detail, t.token, a.usage
FROM tasks t LEFT JOIN attempts a ON a.token = t.token AND a.number = t.attempt WHERE t.state < 5 ORDER BY t.id;

-- name: task_of_key
SELECT t.tenant, t.node, t.executor, t.spec, t.spec_hash, t.create_time, t.priority, t.state, t.outcome, t.attempt,
       t.end_time, t.seq, t.tags, t.metadata, t.detail, t.token, a.usage
FROM tasks t LEFT JOIN attempts a ON a.token = t.token AND a.number = t.attempt WHERE t.tenant = ? AND t.idempotency_key = ?;

-- name: list_tasks
SELECT t.tenant, t.node, t.executor, t.spec, t.spec_hash, t.create_time, t.priority, t.state, t.outcome, t.attempt,
       t.end_time, t.seq, t.tags, t.metadata, t.detail, t.token, a.usage
FROM tasks t LEFT JOIN attempts a ON a.token = t.token AND a.number = t.attempt WHERE

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
