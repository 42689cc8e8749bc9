-- Schema 1. Applied inside one transaction by stores/migrate.py; never edited after a release, only followed by 0002.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;                        -- head_seq, first_seq, store_id, schema_version

CREATE TABLE tasks (
    id              INTEGER PRIMARY KEY,        -- order of acceptance
    token           TEXT    NOT NULL UNIQUE,
    tenant          TEXT    NOT NULL,
    node            TEXT    NOT NULL,
    executor        TEXT    NOT NULL,
    idempotency_key TEXT,                       -- NULL: none was given, or the outcome freed it
    spec_hash       BLOB    NOT NULL,           -- SHA-256 of spec
    spec            BLOB    NOT NULL,           -- deterministic serialization of the decoded TaskSpec
    project_id      TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    queue           TEXT    NOT NULL,
    priority        INTEGER NOT NULL,
    state           INTEGER NOT NULL,
    outcome         INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    create_time     REAL    NOT NULL,           -- Unix seconds
    end_time        REAL    NOT NULL,           -- 0.0 = not yet
    seq             INTEGER NOT NULL,           -- the newest event of this task
    tags            TEXT    NOT NULL,           -- JSON object
    metadata        TEXT    NOT NULL,           -- JSON object
    detail          TEXT    NOT NULL            -- JSON object: the fields of the current attempt, see stores/rows.py
) STRICT;
CREATE INDEX tasks_newest ON tasks (tenant, create_time DESC, token DESC);
CREATE INDEX tasks_live ON tasks (id) WHERE state < 5;
CREATE UNIQUE INDEX tasks_idempotency ON tasks (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_source ON tasks (tenant, project_id, source) WHERE state < 5;

CREATE TABLE attempts (
    token           TEXT    NOT NULL,
    number          INTEGER NOT NULL,
    node            TEXT    NOT NULL,
    boot_id         TEXT    NOT NULL,
    incarnation     INTEGER NOT NULL,           -- echoed by every record of this launch; others are stale
    launch_time     REAL    NOT NULL,
    start_time      REAL    NOT NULL,
    end_time        REAL    NOT NULL,
    outcome         INTEGER NOT NULL,
    exit_code       INTEGER NOT NULL,
    exit_signal     INTEGER NOT NULL,
    exit_message    TEXT    NOT NULL,
    cpu_ns          INTEGER NOT NULL,
    memory_byte_ns2 TEXT    NOT NULL,           -- decimal; the doubled trapezoid outgrows 64 bits in days
    usage           TEXT    NOT NULL,           -- JSON object: metrics and progress at the end
    PRIMARY KEY (token, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    first_seq INTEGER PRIMARY KEY,              -- one row per (transaction, task): a block of consecutive events
    last_seq  INTEGER NOT NULL,
    time      REAL    NOT NULL,
    tenant    TEXT    NOT NULL,
    node      TEXT    NOT NULL,
    token     TEXT    NOT NULL,
    tags      TEXT    NOT NULL,                 -- JSON object, as of these events
    kinds     BLOB    NOT NULL,                 -- one EventKind per event
    frames    BLOB    NOT NULL                  -- the events, each framed as StreamEventsResponse.events
) STRICT;
CREATE INDEX events_of_task ON events (token, first_seq);
