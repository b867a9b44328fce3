CREATE TABLE resource (
	kind    TEXT NOT NULL,
	account TEXT NOT NULL,
	region  TEXT NOT NULL,
	name    TEXT NOT NULL,
	id      TEXT NOT NULL,    -- empty until it is known
	state   TEXT NOT NULL,
	run     TEXT NOT NULL,
	release TEXT NOT NULL,
	image   TEXT NOT NULL,
	series  TEXT NOT NULL,
	content TEXT NOT NULL,
	parent  TEXT NOT NULL,
	expires INTEGER NOT NULL, -- seconds since 1970
	changed INTEGER NOT NULL, -- seconds since 1970
	PRIMARY KEY (kind, account, region, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX resource_series ON resource (series, kind, account, region);
