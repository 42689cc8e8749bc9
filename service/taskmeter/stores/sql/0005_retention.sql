-- Schema 5: what retention needs. Never edited after a release.

CREATE INDEX tasks_ended ON tasks (end_time, token) WHERE state >= 5;

CREATE TABLE task_sizes (
    token      TEXT    PRIMARY KEY,
    attempt    INTEGER NOT NULL,                -- the size counts only while this is the task's attempt
    size_bytes INTEGER NOT NULL                 -- disk space of the task's directory after its end
) STRICT, WITHOUT ROWID;

CREATE TABLE log_starts (
    token           TEXT    NOT NULL,
    attempt         INTEGER NOT NULL,
    name            TEXT    NOT NULL,           -- stdout or stderr
    first_available INTEGER NOT NULL,           -- byte offset; what lies before is no longer kept
    PRIMARY KEY (token, attempt, name)
) STRICT, WITHOUT ROWID;
