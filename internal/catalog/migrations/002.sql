CREATE TABLE change (
	release TEXT NOT NULL REFERENCES release (id) ON DELETE CASCADE,
	number  INTEGER NOT NULL, -- the order
	state   TEXT NOT NULL,
	at      INTEGER NOT NULL, -- seconds since 1970
	PRIMARY KEY (release, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE document (
	release TEXT NOT NULL REFERENCES release (id) ON DELETE CASCADE,
	name    TEXT NOT NULL,
	type    TEXT NOT NULL,    -- media type
	size    INTEGER NOT NULL, -- bytes, as are those of sha256
	sha256  TEXT NOT NULL,
	body    BLOB NOT NULL,    -- zstd
	PRIMARY KEY (release, name)
) STRICT; -- with row ids: the bodies are large

CREATE TABLE package_check (
	release TEXT PRIMARY KEY REFERENCES release (id) ON DELETE CASCADE,
	at      INTEGER NOT NULL, -- seconds since 1970
	updates TEXT NOT NULL     -- JSON
) STRICT, WITHOUT ROWID;

CREATE INDEX release_state ON release (state, date, id);
