-- Schema 3: queues that were put. The default queue has a row only once it was given bounds or paused.

CREATE TABLE queues (
    tenant      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    max_running INTEGER NOT NULL,               -- 0: no bound of its own
    max_waiting INTEGER NOT NULL,               -- 0: no bound of its own
    paused      INTEGER NOT NULL,               -- 0 or 1
    create_time REAL    NOT NULL,               -- Unix seconds
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
