-- Schema 7: what the work reports: items, messages, how far its item logs have been read. Never edited after a release.

CREATE TABLE item_sets (
    id                INTEGER PRIMARY KEY,      -- seq of the first event of the set: no number comes twice
    token             TEXT UNIQUE,              -- NULL: the task was deleted, and the rows of the set are on their way out
    last_seq          INTEGER NOT NULL,         -- the newest event of the set
    event_count       INTEGER NOT NULL,
    queued_count      INTEGER NOT NULL,
    in_progress_count INTEGER NOT NULL,
    completed_count   INTEGER NOT NULL,
    failed_count      INTEGER NOT NULL,
    retrying_count    INTEGER NOT NULL,
    skipped_count     INTEGER NOT NULL,
    note_count        INTEGER NOT NULL,         -- messages ever, by level
    warning_count     INTEGER NOT NULL,
    error_count       INTEGER NOT NULL,
    log_count         INTEGER NOT NULL,
    said_attempt      INTEGER NOT NULL,         -- the newest attempt that had a warning or an error, and how many it had
    said_warnings     INTEGER NOT NULL,
    said_errors       INTEGER NOT NULL
) STRICT;
CREATE INDEX item_sets_deleted ON item_sets (id) WHERE token IS NULL;

CREATE TABLE items (
    set_id      INTEGER NOT NULL,
    key         BLOB    NOT NULL,               -- see model/item.py
    stage       TEXT    NOT NULL,
    status      INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    error       TEXT    NOT NULL,
    worker      TEXT    NOT NULL,
    size        INTEGER NOT NULL,               -- bytes; 0 = unknown
    metadata    TEXT    NOT NULL,               -- JSON object
    time        REAL    NOT NULL,               -- of its newest event, Unix seconds
    event_count INTEGER NOT NULL,
    history     BLOB    NOT NULL,               -- seqs of its newest events, 6 bytes each, big-endian, in order
    PRIMARY KEY (set_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX items_not_done ON items (set_id, status, key) WHERE status <> 3;

CREATE TABLE item_stats (
    set_id INTEGER NOT NULL,
    stage  TEXT    NOT NULL,
    status INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (set_id, stage, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    set_id  INTEGER NOT NULL,
    level   INTEGER NOT NULL,
    number  INTEGER NOT NULL,                   -- from 1 within its level; the newest are kept
    attempt INTEGER NOT NULL,
    time    REAL    NOT NULL,                   -- Unix seconds
    text    TEXT    NOT NULL,
    PRIMARY KEY (set_id, level, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE ingest_offsets (
    token   TEXT    NOT NULL,
    attempt INTEGER NOT NULL,
    segment TEXT    NOT NULL,                   -- name of a file of the attempt's item log
    offset  INTEGER NOT NULL,                   -- what lies before it is in the tables above
    PRIMARY KEY (token, attempt, segment)
) STRICT, WITHOUT ROWID;
