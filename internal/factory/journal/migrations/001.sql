-- Times are milliseconds since 1970, in UTC; 0 is never.
CREATE TABLE pipeline (
	name     TEXT PRIMARY KEY,
	failures INTEGER NOT NULL DEFAULT 0, -- runs that failed in a row
	disabled TEXT NOT NULL DEFAULT '',   -- why nothing starts by itself any more
	due      INTEGER NOT NULL DEFAULT 0, -- the last due time that was heeded
	next     INTEGER NOT NULL DEFAULT 0  -- when the schedule starts it next
);
CREATE TABLE run (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	pipeline   TEXT NOT NULL,
	definition TEXT NOT NULL, -- flow.Pipeline as JSON
	input      TEXT NOT NULL,
	cause      TEXT NOT NULL,
	state      TEXT NOT NULL,
	created    INTEGER NOT NULL,
	started    INTEGER NOT NULL DEFAULT 0,
	ended      INTEGER NOT NULL DEFAULT 0,
	error      TEXT NOT NULL DEFAULT '',
	hint       TEXT NOT NULL DEFAULT '',
	cancel     INTEGER NOT NULL DEFAULT 0, -- somebody asked for it
	told       INTEGER NOT NULL DEFAULT 0  -- its end was told to whom it concerns
);
CREATE INDEX run_pipeline ON run (pipeline, id);
-- A pipeline has one run at a time.
CREATE UNIQUE INDEX run_active ON run (pipeline) WHERE state IN ('queued', 'running');
CREATE TABLE step (
	run      INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
	name     TEXT NOT NULL,
	item     TEXT NOT NULL, -- '' where the step is done once
	token    TEXT NOT NULL,
	state    TEXT NOT NULL,
	starts   INTEGER NOT NULL DEFAULT 0, -- attempts begun
	failures INTEGER NOT NULL DEFAULT 0, -- attempts that failed; the others were cut off
	due      INTEGER NOT NULL DEFAULT 0, -- no attempt before this
	started  INTEGER NOT NULL DEFAULT 0,
	ended    INTEGER NOT NULL DEFAULT 0,
	approved INTEGER NOT NULL DEFAULT 0,
	output   TEXT NOT NULL DEFAULT '',
	error    TEXT NOT NULL DEFAULT '',
	kind     INTEGER NOT NULL DEFAULT 0, -- exit code of the error's fault.Kind
	hint     TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (run, name, item)
) WITHOUT ROWID;
CREATE TABLE line (
	id   INTEGER PRIMARY KEY AUTOINCREMENT,
	run  INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
	step TEXT NOT NULL,
	item TEXT NOT NULL,
	time INTEGER NOT NULL,
	text TEXT NOT NULL
);
CREATE INDEX line_run ON line (run, id);
