package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/internal/alpm"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
)

// Limits on what mirrors send before anything vouches for it. Arch's largest database has 10 MB.
const (
	maxFetched   = 256 << 20 // bytes of a database, compressed
	maxSignature = 64 << 10  // bytes of a detached signature
)

// Verifier judges detached OpenPGP signatures: a [fetch.Keyring] or a [fetch.Web].
type Verifier interface {
	VerifyDetached(data io.Reader, sig []byte, now time.Time) ([]fetch.Signature, error)
}

// Repository is a folder of packages with its database, as a Server line of pacman.conf(5) names it.
type Repository struct {
	Name    string
	Mirrors []string // URLs of the folder that holds NAME.db, tried in order; see Servers
	// Keys are trusted directly, for this repository alone. Where it is nil, the request's web of trust decides.
	Keys *fetch.Keyring
	// SignedDatabase asks for a signed database. Packages must be signed in any case: together that is pacman's
	// SigLevel = Required, and without it Required DatabaseOptional, Arch's own setting. A signature that may be
	// absent is not looked at: whoever changes the database can leave it out.
	SignedDatabase bool
}

// Servers returns the URLs of a repository's folder on mirrors that are spelt as Server lines of
// pacman.conf(5), with $repo and $arch.
func Servers(mirrors []string, repo, arch string) []string {
	values := strings.NewReplacer("$repo", repo, "$arch", arch)
	out := make([]string, len(mirrors))
	for i, m := range mirrors {
		out[i] = values.Replace(m)
	}
	return out
}

// Ask is a request to repositories that have to be fetched.
type Ask struct {
	Repositories []Repository // the first one that has a package of a name wins
	Request
	// Keyring names the package that brings the certificates of packagers, and Masters are the fingerprints of
	// the keys whose certifications make these valid. Both may be empty where each repository has Keys.
	Keyring string
	Masters []string
	// Previous is the lock that this one follows. A package that is older than there is refused: databases are
	// not signed as a rule, so that a mirror could offer old versions, with their good signatures, for ever.
	Previous *lock.Lock
	Now      time.Time // the time that keys are judged at; zero for the clock's
}

// source is a repository that has been read.
type source struct {
	*Repository
	db      *Database
	mirrors []string // the one that gave the database first
	trust   Verifier
	raw     []byte // the database as it came
	index   lock.Index
}

// Databases are repositories that have been read, from which packages can be chosen more than once.
type Databases struct {
	ask      Ask
	fetch    *fetch.Client
	progress *progress.Reporter
	sources  []*source

	mu      sync.Mutex
	signers map[string][]string // of the packages that have been verified, by REPOSITORY/NAME
}

// Read fetches the databases, and verifies them where they are signed. The request within a is not looked at.
func Read(ctx context.Context, c *fetch.Client, a Ask, r *progress.Reporter) (*Databases, error) {
	if a.Now.IsZero() {
		a.Now = time.Now()
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	sources, err := a.read(ctx, c, r)
	if err != nil {
		return nil, fmt.Errorf("reading the package databases: %w", err)
	}
	return &Databases{ask: a, fetch: c, progress: r, sources: sources, signers: make(map[string][]string)}, nil
}

// Date is the newest date of a database: that of its signature, or else of the newest package in it.
func (d *Databases) Date() (newest time.Time) {
	for _, s := range d.sources {
		if s.index.Date.After(newest) {
			newest = s.index.Date
		}
	}
	return newest
}

// Choose chooses packages as [Choose] does, but fetches and verifies none. Of the targets, A|B stands for the package A,
// or, where no repository has it or it is excluded, for B. The local repositories stand above all others.
func (d *Databases) Choose(ctx context.Context, rq Request, local ...*Database) (*Selection, error) {
	databases := slices.Clone(local)
	for _, s := range d.sources {
		databases = append(databases, s.db)
	}
	rq.Targets = rq.targets(databases)
	return Choose(ctx, databases, rq)
}

// Resolve chooses packages as [Databases.Choose] does, fetches them and verifies the signature of each. The lock has them
// in the order in which pacman installs them. Fields that depend on the recipe (Recipe, Distro, Release, Asked) and Arch are
// the caller's to fill in.
//
// The packages of local repositories were made on this machine, and are in the client's cache already: nothing of them is
// fetched or verified.
//
// Errors are those of Choose, and of kind Trust for a signature, size or sum that is not as it must be, and for a
// package that is not what the database says; Unreachable when no mirror answers.
func (d *Databases) Resolve(ctx context.Context, rq Request, local ...*Database) (*lock.Lock, *Selection, error) {
	l := &lock.Lock{Version: lock.Version, Format: "alpm", Date: d.Date()}
	of := make(map[string]*source, len(d.sources))
	for _, s := range d.sources {
		of[s.Name] = s
		l.Indexes = append(l.Indexes, s.index)
	}
	sel, err := d.Choose(ctx, rq, local...)
	if err != nil {
		return nil, nil, err
	}
	for _, ch := range sel.Choices {
		if err := ch.Package.CheckFile(); err != nil {
			return nil, nil, fault.Newf(fault.Input, "repository %s: %w", ch.Repository, err)
		}
		l.Packages = append(l.Packages, lock.Package{
			Name: ch.Package.Name, Version: ch.Package.Version, Arch: ch.Package.Arch, Source: ch.Package.Base,
			Repository: ch.Repository, Path: ch.Package.Filename, Size: ch.Package.FileSize,
			SHA256: strings.ToLower(ch.Package.SHA256), Explicit: ch.Explicit,
		})
	}
	if d.ask.Previous != nil {
		if err := l.GoesForward(d.ask.Previous, alpm.Compare, alike(of)); err != nil {
			return nil, nil, err
		}
	}
	return l, sel, d.verify(ctx, l, sel, of)
}

// Resolve reads the databases and chooses from them once.
func Resolve(ctx context.Context, c *fetch.Client, a Ask, r *progress.Reporter) (*lock.Lock, *Selection, error) {
	d, err := Read(ctx, c, a, r)
	if err != nil {
		return nil, nil, err
	}
	return d.Resolve(ctx, a.Request)
}

// check refuses repositories that could pass for each other: packages are trusted by the name of theirs.
func (a *Ask) check() error {
	seen := make(map[string]bool, len(a.Repositories))
	for _, r := range a.Repositories {
		if r.Name == "" || seen[r.Name] {
			return fault.Newf(fault.Input, "repository %q: its name is empty, or another one has it", r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}

// alike says between which repositories a package may go forward alone: those that trust the same keys. A mirror could
// otherwise offer an old package of core in extra.
func alike(of map[string]*source) func(now, then string) bool {
	return func(now, then string) bool {
		a, b := of[now], of[then]
		if a == nil || b == nil {
			return false
		}
		return a == b || a.Keys == nil && b.Keys == nil
	}
}

// targets settles the alternatives among the targets. Where none of them is there, the last one stays, to be reported;
// where all are excluded, none is asked for.
func (rq *Request) targets(databases []*Database) (all []string) {
	for _, target := range rq.Targets {
		names := strings.Split(target, "|")
		if len(names) > 1 {
			names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(rq.Exclude, name) })
		}
		for i, name := range names {
			if i == len(names)-1 || slices.ContainsFunc(databases, func(d *Database) bool { return d.Package(name) != nil }) {
				all = append(all, name)
				break
			}
		}
	}
	return all
}

// read fetches the databases side by side, and finds out whom to trust.
func (a *Ask) read(ctx context.Context, c *fetch.Client, r *progress.Reporter) (_ []*source, err error) {
	t := r.Begin("reading package databases", 0, progress.Bytes)
	defer func() { t.End(err) }()
	sources := make([]*source, len(a.Repositories))
	g, gctx := errgroup.WithContext(ctx)
	for i := range a.Repositories {
		s := &source{Repository: &a.Repositories[i]}
		sources[i] = s
		g.Go(func() error { return s.read(gctx, c, t) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := a.trust(ctx, c, sources, t); err != nil {
		return nil, err
	}
	g, gctx = errgroup.WithContext(ctx)
	for _, s := range sources {
		if s.SignedDatabase {
			g.Go(func() error { return s.verify(gctx, c, a.Now) })
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, s := range sources {
		if err := s.index.CheckDate(a.Now); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

// read fetches and reads one database. Nothing vouches for it yet.
func (s *source) read(ctx context.Context, c *fetch.Client, t *progress.Task) (err error) {
	path := s.Name + ".db"
	var mirror string
	if s.raw, mirror, err = c.Bytes(ctx, s.Mirrors, path, maxFetched); err != nil {
		return fmt.Errorf("repository %s: %w", s.Name, err)
	}
	t.Grow(int64(len(s.raw)))
	t.Add(int64(len(s.raw)))
	s.mirrors = append([]string{mirror}, slices.DeleteFunc(slices.Clone(s.Mirrors), func(m string) bool { return m == mirror })...)
	if s.db, err = ReadDatabase(s.Name, bytes.NewReader(s.raw)); err != nil {
		return err
	}
	sum := sha256.Sum256(s.raw)
	s.index = lock.Index{Repository: s.Name, Path: path, SHA256: hex.EncodeToString(sum[:])}
	for _, p := range s.db.Packages {
		if p.BuildDate.After(s.index.Date) {
			s.index.Date = p.BuildDate
		}
	}
	return nil
}

// verify checks the signature of the database. Its time becomes the database's date.
func (s *source) verify(ctx context.Context, c *fetch.Client, now time.Time) error {
	sig, _, err := c.Bytes(ctx, s.mirrors[:1], s.index.Path+".sig", maxSignature)
	if errors.Is(err, fetch.ErrAbsent) {
		return fault.New(fault.Trust, fmt.Errorf("repository %s: its database is not signed: %w", s.Name, err),
			"use a mirror that has the signature; `signatures: packages` in the recipe asks for signed packages alone")
	}
	if err != nil {
		return fmt.Errorf("repository %s: %w", s.Name, err)
	}
	good, err := s.trust.VerifyDetached(bytes.NewReader(s.raw), sig, now)
	if err != nil {
		return fmt.Errorf("repository %s: verifying %s: %w", s.Name, s.index.Path, err)
	}
	s.index.Date = time.Time{}
	for _, g := range good {
		s.index.Signers = append(s.index.Signers, g.Fingerprint)
		if at := g.Time.UTC().Truncate(time.Second); at.After(s.index.Date) {
			s.index.Date = at
		}
	}
	return nil
}
