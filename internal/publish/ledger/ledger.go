// Package ledger writes down every resource before it is made in a cloud, and what became of it, so that a program
// that was killed at any point leaves nothing behind that nobody knows of.
//
// A resource goes from Intended (it may exist: whoever looks finds it by its name) over Made (its id is known) to Kept
// (a release owns it) or Gone. What is Intended or Made and has expired is for the collector of garbage.
package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"ingot/internal/database"
	"ingot/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Kind is a kind of resource.
type Kind string

// The kinds, and what the Name of each is.
const (
	Snapshot      Kind = "snapshot"       // the client token that it is started with, or, of a copied image, that of the copy
	Image         Kind = "image"          // the AMI's name
	Bundle        Kind = "bundle"         // BUCKET/FOLDER of a bundle's objects
	Parameter     Kind = "parameter"      // of SSM: its name
	Volume        Kind = "volume"         // INSTANCE/TOKEN: who fills it, and the token of the snapshot that it is for
	Attachment    Kind = "attachment"     // VOLUME/INSTANCE
	Instance      Kind = "instance"       // a client token
	KeyPair       Kind = "key-pair"       // its name
	SecurityGroup Kind = "security-group" // its name
)

// State is how far a resource has come.
type State string

// The states.
const (
	Intended State = "intended"
	Made     State = "made"
	Kept     State = "kept"
	Gone     State = "gone"
)

// Key tells resources apart. One that is made anew under the same key after it was Gone takes the old one's place.
type Key struct {
	Kind    Kind
	Account string // 12 digits
	Region  string
	Name    string // by which it is found again: see the kinds
}

// Entry is a resource. Times are in UTC and whole seconds.
type Entry struct {
	Key
	ID      string // as the cloud names it; "" until it is known
	State   State
	Run     string    // that made it: its tag ingot:run
	Release string    // of the catalogue, that owns it or is to own it
	Image   string    // name of the AMI that it is for
	Series  string    // what this AMI is a version of, so that snapshots of one series can be based on each other
	Content string    // of a snapshot or image: digest of its content
	Parent  string    // of a snapshot: the snapshot that it was based on
	Expires time.Time // its tag ingot:expires: when it may be removed, unless it is Kept
	Changed time.Time
}

// Filter selects entries. An empty field selects all.
type Filter struct {
	Kind                    Kind
	Account, Region, Series string
	State                   State // "": all but Gone
}

// Ledger is a ledger in a file. Several processes may have it open; its methods may be called by many goroutines, and
// what they write is on the disk when they return.
type Ledger struct {
	db  *database.DB
	now func() time.Time
}

// Open opens the ledger in a file, and makes it and its folder when they are absent. now is the clock, time.Now if it
// is nil.
func Open(ctx context.Context, path string, now func() time.Time) (*Ledger, error) {
	db, err := database.Open(ctx, path, migrations)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger %s: %w", path, err)
	}
	if now == nil {
		now = time.Now
	}
	return &Ledger{db, now}, nil
}

// Close closes the ledger.
func (l *Ledger) Close() error { return l.db.Close() }

const (
	columns = `kind, account, region, name, id, state, run, release, image, series, content, parent, expires, changed`
	ofKey   = ` WHERE kind = ? AND account = ? AND region = ? AND name = ?`
)

// Intend writes down that a resource is about to be made, and returns what the ledger has of it now. That is what an
// earlier run wrote, when it intended or made the same: whoever goes on with it uses that run and expiry, so that the
// cloud sees the same request again.
func (l *Ledger) Intend(ctx context.Context, e Entry) (was Entry, err error) {
	if e.Kind == "" || e.Account == "" || e.Region == "" || e.Name == "" || e.Run == "" || e.Expires.IsZero() {
		return was, fmt.Errorf("writing %+v into the ledger: kind, account, region, name, run and expiry must be set", e)
	}
	e.State, e.ID, e.Expires, e.Changed = Intended, "", seconds(e.Expires.Unix()), seconds(l.now().Unix())
	err = l.db.Write(ctx, "writing into the ledger", func(tx *sql.Tx) error {
		was, err = scan(tx.QueryRowContext(ctx, "SELECT "+columns+" FROM resource"+ofKey, e.Kind, e.Account, e.Region, e.Name))
		if err == nil && was.State != Gone || err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		was = e
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO resource ("+columns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", e.Kind, e.Account,
			e.Region, e.Name, e.ID, e.State, e.Run, e.Release, e.Image, e.Series, e.Content, e.Parent, e.Expires.Unix(), e.Changed.Unix())
		return err
	})
	return was, err
}

// Made writes down the id of a resource that was made, or found.
func (l *Ledger) Made(ctx context.Context, k Key, id string) error {
	return l.change(ctx, k, "state = CASE state WHEN ? THEN state ELSE ? END, id = ?", Kept, Made, id)
}

// Keep writes down that a release owns the resource: it does not expire any more.
func (l *Ledger) Keep(ctx context.Context, k Key, release string) error {
	return l.change(ctx, k, "state = ?, release = ?", Kept, release)
}

// Gone writes down that the resource does not exist: it was deleted, or could not be made.
func (l *Ledger) Gone(ctx context.Context, k Key) error {
	return l.change(ctx, k, "state = ?", Gone)
}

func (l *Ledger) change(ctx context.Context, k Key, set string, args ...any) error {
	return l.db.Write(ctx, "writing into the ledger", func(tx *sql.Tx) error {
		args = append(args, l.now().Unix(), k.Kind, k.Account, k.Region, k.Name)
		res, err := tx.ExecContext(ctx, "UPDATE resource SET "+set+", changed = ?"+ofKey, args...)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return fault.Newf(fault.Missing, "it has no %s %q of %s", k.Kind, k.Name, k.Region)
	})
}

// Find returns the entry of a key, and whether there is one.
func (l *Ledger) Find(ctx context.Context, k Key) (e Entry, found bool, err error) {
	e, err = scan(l.db.Read.QueryRowContext(ctx, "SELECT "+columns+" FROM resource"+ofKey, k.Kind, k.Account, k.Region, k.Name))
	if errors.Is(err, sql.ErrNoRows) {
		return Entry{}, false, nil
	}
	if err != nil {
		err = fmt.Errorf("reading the ledger: %w", database.Explain(err))
	}
	return e, err == nil, err
}

// List returns entries, those changed last first.
func (l *Ledger) List(ctx context.Context, f Filter) (all []Entry, err error) {
	query, args := "SELECT "+columns+" FROM resource WHERE TRUE", []any(nil)
	for _, c := range []struct{ column, value string }{{"kind", string(f.Kind)}, {"account", f.Account}, {"region", f.Region}, {"series", f.Series}, {"state", string(f.State)}} {
		if c.value != "" {
			query, args = query+" AND "+c.column+" = ?", append(args, c.value)
		}
	}
	if f.State == "" {
		query, args = query+" AND state <> ?", append(args, Gone)
	}
	rows, err := l.db.Read.QueryContext(ctx, query+" ORDER BY changed DESC, kind, account, region, name", args...)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", database.Explain(err))
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("reading the ledger: %w", err)
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

func scan(row interface{ Scan(...any) error }) (e Entry, err error) {
	var expires, changed int64
	err = row.Scan(&e.Kind, &e.Account, &e.Region, &e.Name, &e.ID, &e.State, &e.Run, &e.Release, &e.Image, &e.Series, &e.Content, &e.Parent, &expires, &changed)
	e.Expires, e.Changed = seconds(expires), seconds(changed)
	return e, err
}

func seconds(n int64) time.Time { return time.Unix(n, 0).UTC() }
