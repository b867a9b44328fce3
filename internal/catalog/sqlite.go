package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	sqlite "modernc.org/sqlite"

	"ingot/internal/fault"
)

// SQLite's result codes that have a kind here (https://www.sqlite.org/rescode.html).
const (
	sqliteBusy    = 5
	sqliteCorrupt = 11
	sqliteFull    = 13
	sqliteNotADB  = 26
)

type sqliteStore struct {
	w *sql.DB // one connection: SQLite has one writer, and waiting for it in Go is fair
	r *sql.DB
}

// OpenSQLite opens the catalogue in a file, and makes it and its folder when they are absent. Several
// processes may have it open; writes are on the disk when their method returns.
func OpenSQLite(ctx context.Context, path string) (Store, error) {
	s, err := openSQLite(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("opening the catalogue %s: %w", path, explain(err))
	}
	return s, nil
}

func openSQLite(ctx context.Context, path string) (*sqliteStore, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil {
		return nil, err
	}
	dsn := func(more ...string) string {
		q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{
			"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}, more...)}
		return (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String()
	}
	s := &sqliteStore{}
	if s.w, err = sql.Open("sqlite", dsn()); err != nil {
		return nil, err
	}
	s.w.SetMaxOpenConns(1)
	if err := migrate(ctx, s.w); err != nil {
		_ = s.w.Close()
		return nil, err
	}
	if s.r, err = sql.Open("sqlite", dsn("query_only(1)")); err != nil {
		_ = s.w.Close()
		return nil, err
	}
	s.r.SetMaxOpenConns(4)
	return s, nil
}

func (s *sqliteStore) Close() error { return errors.Join(s.r.Close(), s.w.Close()) }

// explain gives an error of SQLite a kind.
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqliteBusy:
		return fault.New(fault.Exists, err, "another process has been writing to the catalogue for 10 seconds; end it, or try again")
	case sqliteFull:
		return fault.New(fault.Space, err, "")
	case sqliteCorrupt, sqliteNotADB:
		return fault.New(fault.Input, err, "restore the file from a backup, or point the catalogue at another one")
	}
	return err
}

// write runs fn in a transaction.
func (s *sqliteStore) write(ctx context.Context, doing string, fn func(*sql.Tx) error) error {
	tx, err := s.w.BeginTx(ctx, nil)
	if err == nil {
		defer func() { _ = tx.Rollback() }() // nothing after Commit
		if err = fn(tx); err == nil {
			err = tx.Commit()
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, explain(err))
	}
	return nil
}

func (s *sqliteStore) Put(ctx context.Context, r Release) error {
	if err := Normalize(&r); err != nil {
		return err
	}
	timings, err := json.Marshal(r.Timings)
	if err != nil {
		return fmt.Errorf("recording release %s: %w", r.ID, err)
	}
	return s.write(ctx, "recording release "+r.ID, func(tx *sql.Tx) error {
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
	return s.write(ctx, doing, func(tx *sql.Tx) error {
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
	return s.write(ctx, doing, func(tx *sql.Tx) error {
		before, err := stateOf(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case before == Retired && state != Retired:
			return fault.Newf(fault.Input, "it is retired, which is final")
		}
		_, err = tx.ExecContext(ctx, "UPDATE release SET state = ? WHERE id = ?", state, id)
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
