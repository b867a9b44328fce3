package catalog

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"ingot/internal/database"
	"ingot/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

type sqliteStore struct {
	db  *database.DB
	now func() time.Time
}

// Option changes how a store works.
type Option func(*sqliteStore)

// WithClock has the store take the time from now.
func WithClock(now func() time.Time) Option { return func(s *sqliteStore) { s.now = now } }

// OpenSQLite opens the catalogue in a file, and makes it and its folder when they are absent. Several
// processes may have it open; writes are on the disk when their method returns.
func OpenSQLite(ctx context.Context, path string, options ...Option) (Store, error) {
	db, err := openDatabase(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("opening the catalogue %s: %w", path, err)
	}
	s := &sqliteStore{db, time.Now}
	for _, o := range options {
		o(s)
	}
	return s, nil
}

// openDatabase opens a catalogue's file, and no database of another kind.
func openDatabase(ctx context.Context, path string) (*database.DB, error) {
	db, err := database.Open(ctx, path, migrations)
	if err != nil {
		return nil, err
	}
	if _, err := db.Read.ExecContext(ctx, "SELECT 1 FROM release LIMIT 0"); err != nil {
		return nil, errors.Join(fault.New(fault.Input, fmt.Errorf("it is no catalogue: %w", err), "name a file that ingot made as one"), db.Close())
	}
	return db, nil
}

func (s *sqliteStore) Close() error { return s.db.Close() }

func (s *sqliteStore) Version(ctx context.Context) (string, error) {
	v, err := s.db.Version(ctx)
	if err != nil {
		return "", fmt.Errorf("asking the catalogue for changes: %w", err)
	}
	return strconv.FormatInt(v, 10), nil
}

func (s *sqliteStore) Put(ctx context.Context, r Release) error {
	if err := Normalize(&r); err != nil {
		return err
	}
	timings, err := json.Marshal(r.Timings)
	if err != nil {
		return fmt.Errorf("recording release %s: %w", r.ID, err)
	}
	return s.db.Write(ctx, "recording release "+r.ID, func(tx *sql.Tx) error {
		var before string
		err := tx.QueryRowContext(ctx, "SELECT state FROM release WHERE id = ?", r.ID).Scan(&before)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil {
			r.State = Later(before, r.State)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO release (`+columns+`, verdict, timings) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
			ON CONFLICT (id) DO UPDATE SET name=excluded.name, description=excluded.description, distro=excluded.distro,
			version=excluded.version, arch=excluded.arch, kind=excluded.kind, date=excluded.date,
			lock_sha256=excluded.lock_sha256, disk_sha256=excluded.disk_sha256, disk_size=excluded.disk_size,
			blocks=excluded.blocks, state=excluded.state, verdict=excluded.verdict, timings=excluded.timings`,
			r.ID, r.Name, r.Description, r.Distro, r.Version, r.Arch, r.Kind, r.Date.Unix(),
			r.LockSHA256, r.DiskSHA256, r.DiskSize, r.Blocks, r.State, string(r.Verdict), string(timings))
		if err != nil {
			return err
		}
		if err := s.changed(ctx, tx, r.ID, before, r.State, r.History); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM package WHERE release = ?", r.ID); err != nil {
			return err
		}
		add, err := tx.PrepareContext(ctx, "INSERT INTO package (release, name, arch, version, source) VALUES (?,?,?,?,?)")
		if err != nil {
			return err
		}
		defer func() { _ = add.Close() }()
		for _, p := range r.Packages {
			if _, err := add.ExecContext(ctx, r.ID, p.Name, p.Arch, p.Version, p.Source); err != nil {
				return err
			}
		}
		for _, a := range r.AMIs {
			if err := putAMI(ctx, tx, r.ID, a); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *sqliteStore) PutAMI(ctx context.Context, releaseID string, a AMI) error {
	doing := fmt.Sprintf("recording AMI %s of release %s", a.ImageID, releaseID)
	if err := NormalizeAMI(&a); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.db.Write(ctx, doing, func(tx *sql.Tx) error {
		if _, err := stateOf(ctx, tx, releaseID); err != nil {
			return err
		}
		return putAMI(ctx, tx, releaseID, a)
	})
}

func putAMI(ctx context.Context, tx *sql.Tx, releaseID string, a AMI) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO ami (release, region, image_id, snapshot_id, name, state, created, public)
		VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (release, region) DO UPDATE SET image_id=excluded.image_id,
		snapshot_id=excluded.snapshot_id, name=excluded.name, state=excluded.state, created=excluded.created, public=excluded.public`,
		releaseID, a.Region, a.ImageID, a.SnapshotID, a.Name, a.State, a.Created.Unix(), a.Public)
	return err
}

func (s *sqliteStore) SetState(ctx context.Context, id, state string) error {
	doing := fmt.Sprintf("setting the state of release %s to %s", id, state)
	if rank(state) < 0 {
		return fault.Newf(fault.Input, "%s: unknown state", doing)
	}
	return s.db.Write(ctx, doing, func(tx *sql.Tx) error {
		before, err := stateOf(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case before == Retired && state != Retired:
			return fault.Newf(fault.Input, "it is retired, which is final")
		}
		if _, err := tx.ExecContext(ctx, "UPDATE release SET state = ? WHERE id = ?", state, id); err != nil {
			return err
		}
		return s.changed(ctx, tx, id, before, state, nil)
	})
}

// changed records a change of state, after the history that is known already.
func (s *sqliteStore) changed(ctx context.Context, tx *sql.Tx, id, before, after string, history []Change) error {
	if before == after {
		return nil
	}
	if before != "" || len(history) == 0 {
		history = []Change{{after, s.now()}}
	}
	for _, c := range history {
		_, err := tx.ExecContext(ctx, `INSERT INTO change (release, number, state, at)
			SELECT ?, coalesce(max(number), 0) + 1, ?, ? FROM change WHERE release = ?`, id, c.State, c.At.Unix(), id)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sqliteStore) PutDocument(ctx context.Context, releaseID string, d Document, body []byte) error {
	packed, err := Pack(releaseID, &d, body)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, fmt.Sprintf("adding document %s to release %s", d.Name, releaseID), func(tx *sql.Tx) error {
		if _, err := stateOf(ctx, tx, releaseID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO document (release, name, type, size, sha256, body) VALUES (?,?,?,?,?,?)
			ON CONFLICT (release, name) DO UPDATE SET type=excluded.type, size=excluded.size, sha256=excluded.sha256, body=excluded.body`,
			releaseID, d.Name, d.Type, d.Size, d.SHA256, packed)
		return err
	})
}

func (s *sqliteStore) PutCheck(ctx context.Context, releaseID string, c Check) error {
	if err := NormalizeCheck(&c); err != nil {
		return err
	}
	updates, err := json.Marshal(c.Updates)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, "recording a check of the packages of release "+releaseID, func(tx *sql.Tx) error {
		if _, err := stateOf(ctx, tx, releaseID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO package_check (release, at, updates) VALUES (?,?,?)
			ON CONFLICT (release) DO UPDATE SET at=excluded.at, updates=excluded.updates`, releaseID, c.At.Unix(), string(updates))
		return err
	})
}

func stateOf(ctx context.Context, tx *sql.Tx, id string) (state string, err error) {
	err = tx.QueryRowContext(ctx, "SELECT state FROM release WHERE id = ?", id).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return "", missing(id)
	}
	return state, err
}

func seconds(n int64) time.Time { return time.Unix(n, 0).UTC() }
