package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"ingot/internal/database"
)

// columns are those of a release without what only Get returns, in the order that scan takes them.
const columns = `id, name, description, distro, version, arch, kind, date, lock_sha256, disk_sha256, disk_size, blocks, state`

func scan(values func(...any) error, more ...any) (r Release, err error) {
	var date int64
	err = values(append([]any{&r.ID, &r.Name, &r.Description, &r.Distro, &r.Version, &r.Arch, &r.Kind, &date,
		&r.LockSHA256, &r.DiskSHA256, &r.DiskSize, &r.Blocks, &r.State}, more...)...)
	r.Date = seconds(date)
	return r, err
}

// snapshot runs fn in a read transaction, so that its queries see one state of the database.
func (s *sqliteStore) snapshot(ctx context.Context, doing string, fn func(*sql.Tx) error) error {
	tx, err := s.db.Read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err == nil {
		defer func() { _ = tx.Rollback() }()
		err = fn(tx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, database.Explain(err))
	}
	return nil
}

func (s *sqliteStore) Get(ctx context.Context, id string) (r Release, err error) {
	err = s.snapshot(ctx, "reading release "+id, func(tx *sql.Tx) error {
		var verdict, timings string
		r, err = scan(tx.QueryRowContext(ctx, "SELECT "+columns+", verdict, timings FROM release WHERE id = ?", id).Scan, &verdict, &timings)
		if errors.Is(err, sql.ErrNoRows) {
			return missing(id)
		} else if err != nil {
			return err
		}
		if verdict != "" {
			r.Verdict = json.RawMessage(verdict)
		}
		if err := json.Unmarshal([]byte(timings), &r.Timings); err != nil {
			return fmt.Errorf("its timings: %w", err)
		}
		if r.Packages, err = packagesOf(ctx, tx, id, Filter{}); err != nil {
			return err
		}
		if err := addRest(ctx, tx, &r); err != nil {
			return err
		}
		one := []Release{r}
		err = addAMIs(ctx, tx, one, "", true)
		r = one[0]
		return err
	})
	if err != nil {
		return Release{}, err
	}
	return r, nil
}

// rows runs a query and hands each row to read.
func rows(ctx context.Context, tx *sql.Tx, read func(scan func(...any) error) error, query string, args ...any) error {
	found, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		if err := read(found.Scan); err != nil {
			return err
		}
	}
	return found.Err()
}

// packagesOf returns the packages of a release, or those that f selects.
func packagesOf(ctx context.Context, tx *sql.Tx, id string, f Filter) (all []Package, err error) {
	err = rows(ctx, tx, func(scan func(...any) error) error {
		var p Package
		err := scan(&p.Name, &p.Version, &p.Arch, &p.Source)
		all = append(all, p)
		return err
	}, `SELECT name, version, arch, source FROM package WHERE release = ?1 AND (?2 = '' OR name = ?2)
		AND substr(version, 1, length(?3)) = ?3 ORDER BY name, arch`, id, f.Package, f.PackageVersion)
	return all, err
}

// addRest fills in history, documents and check.
func addRest(ctx context.Context, tx *sql.Tx, r *Release) error {
	err := rows(ctx, tx, func(scan func(...any) error) error {
		var c Change
		var at int64
		err := scan(&c.State, &at)
		c.At = seconds(at)
		r.History = append(r.History, c)
		return err
	}, "SELECT state, at FROM change WHERE release = ? ORDER BY number", r.ID)
	if err != nil {
		return err
	}
	err = rows(ctx, tx, func(scan func(...any) error) error {
		var d Document
		err := scan(&d.Name, &d.Type, &d.Size, &d.SHA256)
		r.Documents = append(r.Documents, d)
		return err
	}, "SELECT name, type, size, sha256 FROM document WHERE release = ? ORDER BY name", r.ID)
	if err != nil {
		return err
	}
	return rows(ctx, tx, func(scan func(...any) error) error {
		var at int64
		var updates []byte
		if err := scan(&at, &updates); err != nil {
			return err
		}
		r.Check = &Check{At: seconds(at)}
		return json.Unmarshal(updates, &r.Check.Updates)
	}, "SELECT at, updates FROM package_check WHERE release = ?", r.ID)
}

func (s *sqliteStore) Document(ctx context.Context, releaseID, name string) (d Document, body []byte, err error) {
	var packed []byte
	row := s.db.Read.QueryRowContext(ctx, "SELECT name, type, size, sha256, body FROM document WHERE release = ? AND name = ?", releaseID, name)
	switch err := row.Scan(&d.Name, &d.Type, &d.Size, &d.SHA256, &packed); {
	case errors.Is(err, sql.ErrNoRows):
		return d, nil, noDocument(releaseID, name)
	case err != nil:
		return d, nil, fmt.Errorf("reading document %s of release %s: %w", name, releaseID, database.Explain(err))
	}
	body, err = Unpack(d, packed)
	return d, body, err
}

// where turns a filter into conditions and their arguments.
func where(f Filter) (conditions []string, args []any) {
	for _, c := range []struct{ column, value string }{
		{"distro", f.Distro}, {"version", f.Version}, {"name", f.Name}, {"arch", f.Arch}, {"kind", f.Kind}, {"state", f.State},
	} {
		if c.value != "" {
			conditions, args = append(conditions, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Region != "" {
		conditions = append(conditions, "EXISTS (SELECT 1 FROM ami WHERE ami.release = id AND region = ? AND ami.state <> '"+Retired+"')")
		args = append(args, f.Region)
	}
	if f.Live {
		conditions, args = append(conditions, "state IN (?, ?, ?)"), append(args, Verified, Public, Deprecated)
	}
	if f.Package != "" {
		conditions = append(conditions, "id IN (SELECT release FROM package WHERE package.name = ? AND substr(package.version, 1, length(?)) = ?)")
		args = append(args, f.Package, f.PackageVersion, f.PackageVersion)
	}
	return append(conditions, "1"), args
}

func (s *sqliteStore) List(ctx context.Context, f Filter) (all []Release, next string, err error) {
	conditions, args := where(f)
	if f.Cursor != "" {
		date, id, err := ParseCursor(f.Cursor)
		if err != nil {
			return nil, "", err
		}
		conditions, args = append(conditions, "(date, id) < (?, ?)"), append(args, date, id)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	query := "SELECT " + columns + " FROM release WHERE " + strings.Join(conditions, " AND ") + " ORDER BY date DESC, id DESC LIMIT ?"
	all, err = s.query(ctx, query, append(args, limit+1), f, !f.Live)
	if err == nil && len(all) > limit {
		all = all[:limit]
		next = After(all[limit-1])
	}
	return all, next, err
}

func (s *sqliteStore) Latest(ctx context.Context, f Filter) ([]Release, error) {
	f.Package = "" // of List
	conditions, args := where(f)
	if f.State == "" {
		conditions, args = append(conditions, "state IN (?, ?)"), append(args, Public, Verified)
	}
	query := "SELECT " + columns + ` FROM (SELECT *, row_number() OVER (PARTITION BY name, arch, kind ORDER BY date DESC, id DESC) AS place
		FROM release WHERE ` + strings.Join(conditions, " AND ") + ") WHERE place = 1 ORDER BY name, arch, kind"
	return s.query(ctx, query, args, f, false)
}

// query returns the releases that a query selects, with their AMIs, and with the packages that f asks for.
func (s *sqliteStore) query(ctx context.Context, query string, args []any, f Filter, retired bool) (all []Release, err error) {
	err = s.snapshot(ctx, "listing releases", func(tx *sql.Tx) error {
		err := rows(ctx, tx, func(values func(...any) error) error {
			r, err := scan(values)
			all = append(all, r)
			return err
		}, query, args...)
		if err != nil {
			return err
		}
		if f.Package != "" {
			for i := range all {
				if all[i].Packages, err = packagesOf(ctx, tx, all[i].ID, f); err != nil {
					return err
				}
			}
		}
		return addAMIs(ctx, tx, all, f.Region, retired && f.Region == "")
	})
	return all, err
}

// addAMIs fills in the AMIs of releases: those in a region when it is not "", retired ones if asked for.
func addAMIs(ctx context.Context, tx *sql.Tx, all []Release, region string, retired bool) error {
	ids := make([]string, len(all))
	byID := make(map[string]*Release, len(all))
	for i := range all {
		all[i].AMIs = []AMI{} // so that JSON has a list, not null
		ids[i], byID[all[i].ID] = all[i].ID, &all[i]
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	return rows(ctx, tx, func(scan func(...any) error) error {
		var id string
		var a AMI
		var created int64
		if err := scan(&id, &a.Region, &a.ImageID, &a.SnapshotID, &a.Name, &a.State, &created, &a.Public); err != nil {
			return err
		}
		a.Created = seconds(created)
		byID[id].AMIs = append(byID[id].AMIs, a)
		return nil
	}, `SELECT release, region, image_id, snapshot_id, name, state, created, public FROM ami
		WHERE release IN (SELECT value FROM json_each(?)) AND (? = '' OR region = ?) AND (? OR state <> ?) ORDER BY release, region`,
		string(list), region, region, retired, Retired)
}
