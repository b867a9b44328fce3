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

// maxFuture is how far in the future a database may be dated before the clock of one side must be wrong.
const maxFuture = 24 * time.Hour

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
	// Local, if not nil, is the repository: packages made on this machine, whose files are in the cache of the
	// client already. Nothing is fetched or verified.
	Local *Database
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
	// Of the Targets of an Ask, A|B stands for the package A, or, where no repository has it or it is excluded, for B.
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

// Resolve fetches the databases, chooses the packages as [Choose] does, fetches them and verifies the signature
// of each. The lock has them in the order in which pacman installs them. Fields that depend on the recipe
// (Recipe, Distro, Release, Asked) and Arch are the caller's to fill in.
//
// Errors are those of Choose, and of kind Trust for a signature, size or sum that is not as it must be, and for a
// package that is not what the database says; Unreachable when no mirror answers.
func Resolve(ctx context.Context, c *fetch.Client, a Ask, r *progress.Reporter) (*lock.Lock, *Selection, error) {
	if a.Now.IsZero() {
		a.Now = time.Now()
	}
	sources, err := a.read(ctx, c, r)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the package databases: %w", err)
	}
	l := &lock.Lock{Version: lock.Version, Format: "alpm"}
	databases := make([]*Database, len(sources))
	of := make(map[string]*source, len(sources))
	for i, s := range sources {
		databases[i], of[s.Name] = s.db, s
		if s.Local != nil {
			continue
		}
		l.Indexes = append(l.Indexes, s.index)
		if s.index.Date.After(l.Date) {
			l.Date = s.index.Date
		}
	}
	request := a.Request
	request.Targets = a.targets(databases)
	sel, err := Choose(ctx, databases, request)
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
	if a.Previous != nil {
		if err := l.GoesForward(a.Previous, alpm.Compare); err != nil {
			return nil, nil, err
		}
	}
	return l, sel, a.verify(ctx, c, l, sel, of, r)
}

// targets settles the alternatives among the targets. Where none of them is there, the last one stays, to be reported;
// where all are excluded, none is asked for.
func (a *Ask) targets(databases []*Database) (all []string) {
	for _, target := range a.Targets {
		names := strings.Split(target, "|")
		if len(names) > 1 {
			names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(a.Exclude, name) })
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
		if s.SignedDatabase && s.Local == nil {
			g.Go(func() error { return s.verify(gctx, c, a.Now) })
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, s := range sources {
		if date := s.index.Date; s.Local == nil && date.After(a.Now.Add(maxFuture)) {
			return nil, fault.New(fault.Trust, fmt.Errorf("repository %s: %s is dated in the future, %s", s.Name, s.index.Path, date.Format(time.RFC3339)),
				"check this machine's clock, or use another mirror")
		}
	}
	return sources, nil
}

// read fetches and reads one database. Nothing vouches for it yet.
func (s *source) read(ctx context.Context, c *fetch.Client, t *progress.Task) (err error) {
	if s.db = s.Local; s.Local != nil {
		return nil
	}
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
