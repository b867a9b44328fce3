CREATE TABLE release (
	id          TEXT PRIMARY KEY,
	name        TEXT NOT NULL,
	description TEXT NOT NULL,
	distro      TEXT NOT NULL,
	version     TEXT NOT NULL,
	arch        TEXT NOT NULL,
	kind        TEXT NOT NULL,
	date        INTEGER NOT NULL, -- seconds since 1970
	lock_sha256 TEXT NOT NULL,
	disk_sha256 TEXT NOT NULL,
	disk_size   INTEGER NOT NULL, -- bytes
	blocks      INTEGER NOT NULL,
	state       TEXT NOT NULL,
	verdict     TEXT NOT NULL,    -- JSON, or empty
	timings     TEXT NOT NULL     -- JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX release_date ON release (date, id);
CREATE INDEX release_image ON release (name, arch, kind, date);

CREATE TABLE package (
	release TEXT NOT NULL REFERENCES release (id) ON DELETE CASCADE,
	name    TEXT NOT NULL,
	arch    TEXT NOT NULL,
	version TEXT NOT NULL,
	source  TEXT NOT NULL,
	PRIMARY KEY (release, name, arch)
) STRICT, WITHOUT ROWID;
CREATE INDEX package_name ON package (name, version);

CREATE TABLE ami (
	release     TEXT NOT NULL REFERENCES release (id) ON DELETE CASCADE,
	region      TEXT NOT NULL,
	image_id    TEXT NOT NULL,
	snapshot_id TEXT NOT NULL,
	name        TEXT NOT NULL,
	state       TEXT NOT NULL,
	created     INTEGER NOT NULL, -- seconds since 1970
	public      INTEGER NOT NULL,
	PRIMARY KEY (release, region)
) STRICT, WITHOUT ROWID;
