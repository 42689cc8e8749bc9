-- Schema 6: recurring schedules. Never edited after a release.

CREATE TABLE schedules (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    spec   BLOB NOT NULL,                       -- as tasks.spec, sealed alike
    detail TEXT NOT NULL,                       -- JSON object: the other fields, see stores/schedules.py
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
