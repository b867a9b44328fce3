package database

import (
	"context"
	"database/sql"
	"fmt"

	_ "modernc.org/sqlite" // the driver

	"ingot/internal/rpm"
)

// sqlite makes the one file that rpm 4.16 makes, with the same tables and indexes. It is not in the mode of write-ahead
// logging, in which nobody but root could read it without the files that a first reader leaves; rpm changes that when it
// first writes.
func sqlite(ctx context.Context, headers []*rpm.Header) (map[string][]byte, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	c, err := db.Conn(ctx) // in memory, every connection has a database of its own
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := fill(ctx, c, headers); err != nil {
		return nil, err
	}
	var data []byte
	err = c.Raw(func(driver any) error {
		s, ok := driver.(interface{ Serialize() ([]byte, error) })
		if !ok {
			return fmt.Errorf("the driver %T cannot write databases of its memory", driver)
		}
		data, err = s.Serialize()
		return err
	})
	return map[string][]byte{"rpmdb.sqlite": data}, err
}

func fill(ctx context.Context, c *sql.Conn, headers []*rpm.Header) error {
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to take back
	if _, err := tx.ExecContext(ctx, "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)"); err != nil {
		return err
	}
	for i, h := range headers {
		if _, err := tx.ExecContext(ctx, "INSERT INTO 'Packages' VALUES(?, ?)", i+1, h.Blob); err != nil {
			return err
		}
	}
	for _, ix := range sqliteIndexes {
		if err := ix.table(ctx, tx, headers); err != nil {
			return fmt.Errorf("index %s: %w", ix.name, err)
		}
	}
	return tx.Commit()
}

// table makes the table of an index, and SQLite's own indexes of it.
func (ix *index) table(ctx context.Context, tx *sql.Tx, headers []*rpm.Header) error {
	entries, err := ix.entries(headers)
	if err != nil {
		return err
	}
	kind := "TEXT"
	if ix.binary {
		kind = "BLOB"
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("CREATE TABLE '%s' (key '%s' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, "+
		"FOREIGN KEY (hnum) REFERENCES 'Packages'(hnum))", ix.name, kind)); err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, fmt.Sprintf("INSERT INTO '%s' VALUES(?, ?, ?)", ix.name))
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, e := range entries {
		var key any = string(e.key)
		if ix.binary {
			key = e.key
		}
		if _, err := insert.ExecContext(ctx, key, e.header, e.place); err != nil {
			return err
		}
	}
	var columns []string
	if !ix.binary {
		columns = append(columns, "key")
	}
	if !ix.single {
		columns = append(columns, "hnum")
	}
	for _, column := range columns {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("CREATE INDEX '%[1]s_%[2]s_idx' ON '%[1]s'(%[2]s ASC)", ix.name, column)); err != nil {
			return err
		}
	}
	return nil
}
