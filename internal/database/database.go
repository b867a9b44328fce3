// Package database opens SQLite databases, each in a file with a schema of numbered migrations. It is what the
// catalogue and the factory's journal are kept in.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	sqlite "modernc.org/sqlite"

	"ingot/internal/fault"
)

// SQLite's result codes that have a kind here (https://www.sqlite.org/rescode.html).
const (
	sqliteBusy     = 5
	sqliteReadOnly = 8
	sqliteCorrupt  = 11
	sqliteFull     = 13
	sqliteCantOpen = 14
	sqliteNotADB   = 26
)

// DB is an open database.
type DB struct {
	w    *sql.DB // one connection: SQLite has one writer, and waiting for it in Go is fair
	Read *sql.DB // reads what is written, and cannot write

	watch   *sql.DB
	version *sql.Stmt // on a connection of its own, which sees the changes of all others
}

// Open opens the database in a file, and makes it and its folder when they are absent. The folder migrations holds
// the schema, a step a file. Several processes may have it open; writes are on the disk when they return.
func Open(ctx context.Context, path string, migrations fs.FS) (*DB, error) {
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
	d := &DB{}
	open := func(db **sql.DB, connections int, more ...string) {
		if err == nil {
			if *db, err = sql.Open("sqlite", dsn(more...)); err == nil {
				(*db).SetMaxOpenConns(connections)
			}
		}
	}
	if open(&d.w, 1); err == nil {
		err = migrate(ctx, d.w, migrations)
	}
	open(&d.Read, 4, "query_only(1)")
	open(&d.watch, 1, "query_only(1)")
	if err == nil {
		d.version, err = d.watch.PrepareContext(ctx, "PRAGMA data_version")
	}
	if err != nil {
		return nil, errors.Join(Explain(err), d.Close())
	}
	return d, nil
}

// Close closes the database.
func (d *DB) Close() (err error) {
	if d.version != nil {
		err = d.version.Close()
	}
	for _, db := range []*sql.DB{d.watch, d.Read, d.w} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// Version returns another number than before if anything was written in between, by this process or another
// (https://www.sqlite.org/pragma.html#pragma_data_version).
func (d *DB) Version(ctx context.Context) (n int64, err error) {
	err = d.version.QueryRowContext(ctx).Scan(&n)
	return n, Explain(err)
}

// Write runs fn in a transaction; doing says what it is for, in errors.
func (d *DB) Write(ctx context.Context, doing string, fn func(*sql.Tx) error) error {
	tx, err := d.w.BeginTx(ctx, nil)
	if err == nil {
		defer func() { _ = tx.Rollback() }() // nothing after Commit
		if err = fn(tx); err == nil {
			err = tx.Commit()
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, Explain(err))
	}
	return nil
}

// Explain gives an error of SQLite a kind.
func Explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqliteBusy:
		return fault.New(fault.Exists, err, "another process has been writing to the database for 10 seconds; end it, or try again")
	case sqliteReadOnly, sqliteCantOpen:
		return fault.New(fault.Host, err, "it must be a file, in a folder that is there and that you may write to")
	case sqliteFull:
		return fault.New(fault.Space, err, "")
	case sqliteCorrupt, sqliteNotADB:
		return fault.New(fault.Input, err, "restore the file from a backup, or choose another folder with --state-dir")
	}
	return err
}

// Backup writes a copy of the database into a file that must not exist yet, while others go on reading and writing.
func (d *DB) Backup(ctx context.Context, path string) error {
	_, err := d.w.ExecContext(ctx, "VACUUM INTO ?", path)
	return Explain(err)
}

// Verify looks whether the whole file is as SQLite wrote it.
func (d *DB) Verify(ctx context.Context) error {
	var found string
	if err := d.Read.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return Explain(err)
	}
	if found != "ok" {
		return fault.Newf(fault.Input, "it is damaged: %s", found)
	}
	return nil
}

// Replace makes the content of the database that of another one with the same schema, at once or not at all, while others
// go on reading.
func (d *DB) Replace(ctx context.Context, path string) (err error) {
	c, err := d.w.Conn(ctx)
	if err != nil {
		return Explain(err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if _, err := c.ExecContext(ctx, "ATTACH ? AS other", path); err != nil {
		return Explain(err)
	}
	defer func() { _, _ = c.ExecContext(context.WithoutCancel(ctx), "DETACH other") }() // a connection that kept it could not attach again
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return Explain(err)
	}
	defer func() { _ = tx.Rollback() }()
	var tables []string
	rows, err := tx.QueryContext(ctx, "SELECT name FROM other.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
	if err != nil {
		return Explain(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		tables = append(tables, `"`+strings.ReplaceAll(name, `"`, `""`)+`"`)
	}
	if err := rows.Err(); err != nil {
		return Explain(err)
	}
	statements := []string{"PRAGMA defer_foreign_keys = 1"}
	for _, t := range tables {
		statements = append(statements, "DELETE FROM main."+t)
	}
	for _, t := range tables {
		statements = append(statements, "INSERT INTO main."+t+" SELECT * FROM other."+t)
	}
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return Explain(err)
		}
	}
	return Explain(tx.Commit())
}
