package catalog

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ingot/internal/database"
	"ingot/internal/fault"
)

// columns are those of a release without what only Get returns, in the order that scan takes them.
const columns = `id, name, description, distro, version, arch, kind, date, lock_sha256, disk_sha256, disk_size, blocks, state`

func scan(row interface{ Scan(...any) error }, more ...any) (r Release, err error) {
	var date int64
	err = row.Scan(append([]any{&r.ID, &r.Name, &r.Description, &r.Distro, &r.Version, &r.Arch, &r.Kind, &date,
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
		r, err = scan(tx.QueryRowContext(ctx, "SELECT "+columns+", verdict, timings FROM release WHERE id = ?", id), &verdict, &timings)
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
		rows, err := tx.QueryContext(ctx, "SELECT name, version, arch, source FROM package WHERE release = ? ORDER BY name, arch", id)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var p Package
			if err := rows.Scan(&p.Name, &p.Version, &p.Arch, &p.Source); err != nil {
				return err
			}
			r.Packages = append(r.Packages, p)
		}
		if err := rows.Err(); err != nil {
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

// where turns a filter into conditions and their arguments.
func where(f Filter) (conditions []string, args []any) {
	for _, c := range []struct{ column, value string }{
		{"distro", f.Distro}, {"name", f.Name}, {"arch", f.Arch}, {"kind", f.Kind}, {"state", f.State},
	} {
		if c.value != "" {
			conditions, args = append(conditions, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Region != "" {
		conditions = append(conditions, "EXISTS (SELECT 1 FROM ami WHERE ami.release = id AND region = ? AND ami.state <> '"+Retired+"')")
		args = append(args, f.Region)
	}
	return append(conditions, "1"), args
}

func (s *sqliteStore) List(ctx context.Context, f Filter) (all []Release, next string, err error) {
	conditions, args := where(f)
	if f.Cursor != "" {
		date, id, err := parseCursor(f.Cursor)
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
	all, err = s.query(ctx, query, append(args, limit+1), f.Region, true)
	if err == nil && len(all) > limit {
		all = all[:limit]
		next = cursor(all[limit-1])
	}
	return all, next, err
}

func (s *sqliteStore) Latest(ctx context.Context, f Filter) ([]Release, error) {
	conditions, args := where(f)
	if f.State == "" {
		conditions, args = append(conditions, "state IN (?, ?)"), append(args, Public, Verified)
	}
	query := "SELECT " + columns + ` FROM (SELECT *, row_number() OVER (PARTITION BY name, arch, kind ORDER BY date DESC, id DESC) AS place
		FROM release WHERE ` + strings.Join(conditions, " AND ") + ") WHERE place = 1 ORDER BY name, arch, kind"
	return s.query(ctx, query, args, f.Region, false)
}

// query returns the releases that a query selects, with their AMIs.
func (s *sqliteStore) query(ctx context.Context, query string, args []any, region string, retired bool) (all []Release, err error) {
	err = s.snapshot(ctx, "listing releases", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			r, err := scan(rows)
			if err != nil {
				return err
			}
			all = append(all, r)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return addAMIs(ctx, tx, all, region, retired && region == "")
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
	rows, err := tx.QueryContext(ctx, `SELECT release, region, image_id, snapshot_id, name, state, created, public FROM ami
		WHERE release IN (SELECT value FROM json_each(?)) AND (? = '' OR region = ?) AND (? OR state <> ?) ORDER BY release, region`,
		string(list), region, region, retired, Retired)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		var a AMI
		var created int64
		if err := rows.Scan(&id, &a.Region, &a.ImageID, &a.SnapshotID, &a.Name, &a.State, &created, &a.Public); err != nil {
			return err
		}
		a.Created = seconds(created)
		byID[id].AMIs = append(byID[id].AMIs, a)
	}
	return rows.Err()
}

// cursor names the place behind a release in the order of List.
func cursor(r Release) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(r.Date.Unix(), 10) + " " + r.ID))
}

func parseCursor(s string) (date int64, id string, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		var at string
		at, id, _ = strings.Cut(string(raw), " ")
		date, err = strconv.ParseInt(at, 10, 64)
	}
	if err != nil {
		return 0, "", fault.Newf(fault.Input, "listing releases: %q is no cursor that a page before gave", s)
	}
	return date, id, nil
}
