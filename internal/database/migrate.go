package database

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"ingot/internal/fault"
)

// migrate brings a database from the schema that its user_version names to the newest one, a file of
// migrations/ at a time, each whole or not at all. A file that was once released is never changed.
func migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	files, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return err
	}
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(files) {
		return fault.New(fault.Input, fmt.Errorf("its schema has version %d, this program knows %d", version, len(files)),
			"a newer ingot wrote it: use that one")
	}
	for i := version; i < len(files); i++ {
		if err := apply(ctx, db, migrations, files[i], i); err != nil {
			return fmt.Errorf("bringing the schema to version %d: %w", i+1, err)
		}
	}
	return nil
}

func apply(ctx context.Context, db *sql.DB, migrations fs.FS, file string, from int) error {
	text, err := fs.ReadFile(migrations, file)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	var now int                          // another process may have been here since
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&now); err != nil || now != from {
		return err
	}
	if _, err := tx.ExecContext(ctx, string(text)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", from+1)); err != nil {
		return err
	}
	return tx.Commit()
}
