// Package archive reads repositories of RPM packages as createrepo makes them (repodata/repomd.xml and what it
// names) and decides which packages make up an image, as yum and dnf would for an empty root.
//
// What vouches for packages are their own signatures, which are checked one by one when the lock is made. A repository may
// sign its repomd.xml too; that of CentOS 6 does not.
//
// Of the versions of a package the newest is taken, an older one only where the newest cannot be installed.
// Of several packages that provide the same, [yum's rules] decide. One architecture and noarch are looked at:
// no 32-bit packages beside 64-bit ones. Boolean dependencies and modules are refused.
//
// [yum's rules]: https://github.com/rpm-software-management/yum/blob/yum-3-2-29/yum/depsolve.py
package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/rpm"
	"ingot/internal/solve"
)

// Repository is a folder of packages with its metadata in repodata/.
type Repository struct {
	Name    string
	Mirrors []string       // URLs of the folder that holds repodata/, tried in order
	Keys    *fetch.Keyring // that packages must be signed by
	// SignedMetadata asks for a repomd.xml that is signed by the keys too.
	SignedMetadata bool
}

// Request says what to install.
type Request struct {
	Repositories []Repository // the first one is preferred where versions are equal
	Arch         string       // as RPM spells it: x86_64
	// Include names packages (also NAME-VERSION, NAME-VERSION-RELEASE, with .ARCH), files, capabilities, and groups as
	// @ID, of which the mandatory and default packages are meant.
	Include    []string
	Exclude    []string // names of packages that must not be installed
	Optional   bool     // also the optional packages of groups
	Recommends bool     // also install what packages recommend, where it is possible (rpm 4.12 and later)
	SHA1       string   // the reason for which signatures and checksums of SHA-1 count; empty where they do not
	Expired    string   // the reason for which keys count that have expired since they signed; likewise
	// Previous is the lock that this one follows. A package that is older than there is refused.
	Previous *lock.Lock
	Now      time.Time // the time that keys are judged at; zero for the clock's
}

// Explanation says why each package was chosen.
type Explanation struct {
	*solve.Solution
	Absent []string // packages of groups that no repository has, as "GROUP: NAME"
}

// source is a repository that is being read.
type source struct {
	*Repository
	mirrors []string // the one that gave repomd.xml first
	repomd  *repomd
	records []*record
	groups  []Group
}

// Resolve fetches the repositories' metadata, chooses the packages, fetches them and verifies the signature of each. The lock
// has them in the order in which rpm installs them. Fields that depend on the recipe (Recipe, Distro, Release, Asked) and
// Arch are the caller's to fill in.
//
// Errors are of kind Trust for a signature or checksum that is not as it must be, and for a package that is not what the
// metadata says, Missing for a package or group that does
// not exist, Unsatisfiable for packages that cannot be installed together, Unreachable when no mirror answers.
func Resolve(ctx context.Context, c *fetch.Client, rq Request, r *progress.Reporter) (*lock.Lock, *Explanation, error) {
	if rq.Now.IsZero() {
		rq.Now = time.Now()
	}
	l := &lock.Lock{Version: lock.Version, Format: "rpm"}
	t := r.Begin("reading repositories", 0, progress.Bytes)
	sources, err := rq.read(ctx, c, l, t)
	t.End(err)
	if err != nil {
		return nil, nil, err
	}
	var records []*record
	var groups []Group
	for _, s := range sources {
		records, groups = append(records, s.records...), append(groups, s.groups...)
	}
	cat := newCatalog(records, groups)
	files := func() (map[string][]string, error) {
		t := r.Begin("reading lists of files", 0, progress.Bytes)
		all, err := rq.files(ctx, c, sources, cat.paths, t)
		t.End(err)
		return all, err
	}
	explanation, order, err := rq.choose(ctx, cat, files)
	if err != nil {
		return nil, nil, err
	}
	if l.Packages, err = rq.verify(ctx, c, order, r); err != nil {
		return nil, nil, err
	}
	if rq.Previous != nil {
		if err := l.GoesForward(rq.Previous, rpm.Compare, nil); err != nil {
			return nil, nil, err
		}
	}
	for i := range l.Packages {
		ch := explanation.Choices[slices.IndexFunc(explanation.Choices, func(ch solve.Choice) bool { return ch.Package.Name == l.Packages[i].Name })]
		l.Packages[i].Explicit = ch.By == nil
	}
	return l, explanation, nil
}

// read fetches the metadata of all repositories but their lists of files.
func (rq *Request) read(ctx context.Context, c *fetch.Client, l *lock.Lock, t *progress.Task) ([]*source, error) {
	sources := make([]*source, len(rq.Repositories))
	l.Indexes = make([]lock.Index, len(rq.Repositories))
	g, gctx := errgroup.WithContext(ctx)
	for i := range rq.Repositories {
		g.Go(func() (err error) {
			sources[i] = &source{Repository: &rq.Repositories[i]}
			if l.Indexes[i], err = sources[i].read(gctx, c, rq, t); err != nil {
				return fmt.Errorf("repository %s: %w", rq.Repositories[i].Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, ix := range l.Indexes {
		if err := ix.CheckDate(rq.Now); err != nil {
			return nil, err
		}
		if ix.Date.After(l.Date) {
			l.Date = ix.Date
		}
	}
	return sources, nil
}

const repomdPath = "repodata/repomd.xml"

func (s *source) read(ctx context.Context, c *fetch.Client, rq *Request, t *progress.Task) (lock.Index, error) {
	text, mirror, err := c.Bytes(ctx, s.Mirrors, repomdPath, maxRepomd)
	if err != nil {
		return lock.Index{}, err
	}
	s.mirrors = append([]string{mirror}, slices.DeleteFunc(slices.Clone(s.Mirrors), func(m string) bool { return m == mirror })...)
	sum := sha256.Sum256(text)
	ix := lock.Index{Repository: s.Name, Path: repomdPath, SHA256: hex.EncodeToString(sum[:])}
	if s.SignedMetadata {
		sig, _, err := c.Bytes(ctx, []string{mirror}, repomdPath+".asc", maxSignature)
		if err != nil {
			return ix, err
		}
		signatures, err := s.Keys.VerifyDetached(strings.NewReader(string(text)), sig, rq.Now)
		if err != nil {
			return ix, fmt.Errorf("%s: %w", repomdPath, err)
		}
		for _, one := range signatures {
			ix.Signers = append(ix.Signers, one.Fingerprint)
		}
	}
	if s.repomd, err = parseRepomd(text); err != nil {
		return ix, input(fmt.Errorf("%s: %w", repomdPath, err))
	}
	ix.Date = s.repomd.date()
	if s.repomd.find("modules") != nil {
		return ix, fault.New(fault.Input, errors.New("it has modules, which are not supported"), "take a repository without modular packages")
	}
	primary := s.repomd.find("primary")
	if primary == nil {
		return ix, fault.Newf(fault.Input, "%s names no primary", repomdPath)
	}
	f, err := s.get(ctx, c, primary, rq.SHA1, t)
	if err != nil {
		return ix, err
	}
	defer f.Close()
	if err := readPrimary(f, []string{rq.Arch, "noarch"}, func(r *record) { r.from = s; s.records = append(s.records, r) }); err != nil {
		return ix, fmt.Errorf("reading %s: %w", primary.Location.Href, err)
	}
	groups := s.repomd.find("group_gz", "group")
	if groups == nil || !slices.ContainsFunc(rq.Include, func(s string) bool { return strings.HasPrefix(s, "@") }) {
		return ix, nil
	}
	g, err := s.get(ctx, c, groups, rq.SHA1, t)
	if err != nil {
		return ix, err
	}
	defer g.Close()
	s.groups, err = ReadGroups(g)
	return ix, err
}

// files fetches the lists of files and returns, by the checksums of packages, those that are wanted.
func (rq *Request) files(ctx context.Context, c *fetch.Client, sources []*source, wanted map[string]bool, t *progress.Task) (map[string][]string, error) {
	paths := make(map[string]bool, len(wanted))
	for p := range wanted {
		paths[p] = true
	}
	all := make(map[string][]string)
	for _, s := range sources {
		d := s.repomd.find("filelists")
		if d == nil {
			return nil, fault.Newf(fault.Input, "repository %s: %s names no filelists", s.Name, repomdPath)
		}
		f, err := s.get(ctx, c, d, rq.SHA1, t)
		if err != nil {
			return nil, fmt.Errorf("repository %s: %w", s.Name, err)
		}
		err = readFilelists(f, paths, func(sum string, files []string) { all[sum] = files })
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return nil, fmt.Errorf("repository %s: reading %s: %w", s.Name, d.Location.Href, err)
		}
	}
	return all, nil
}

// choose solves the request. files is called at most once: the lists of files are long, and primary has those files that
// most packages require.
func (rq *Request) choose(ctx context.Context, cat *catalog, files func() (map[string][]string, error)) (*Explanation, []*record, error) {
	var absent []string
	include, fromGroups, err := rq.expand(cat, &absent)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range include {
		if strings.HasPrefix(name, "/") {
			cat.paths[name] = cat.paths[name] || slices.ContainsFunc(cat.records, func(r *record) bool { return slices.Contains(r.files, name) })
		}
	}
	cat.describe()
	ask := solve.Request{Wants: rq.Recommends, Excluded: make(map[string]bool)}
	for _, name := range rq.Exclude {
		ask.Excluded[name] = true
	}
	solveIt := func() (*solve.Solution, error) {
		ask.Asked = nil
		for i, name := range append(include, fromGroups...) {
			if strings.HasPrefix(name, "/") && !cat.paths[name] {
				cat.lacking = true
			}
			group, err := cat.asked(name, ask.Excluded)
			if err != nil {
				return nil, err
			}
			if i < len(include) || !ask.Excluded[name] {
				ask.Asked = append(ask.Asked, group)
			}
		}
		return cat.universe.Solve(ctx, ask)
	}
	sol, err := solveIt()
	if cat.lacking && ctx.Err() == nil {
		if cat.contents, err = files(); err != nil {
			return nil, nil, err
		}
		cat.describe()
		sol, err = solveIt()
	}
	if err != nil {
		return nil, nil, err
	}
	var order []*record
	for _, p := range sol.Order(func(*solve.Package) bool { return false }) {
		order = append(order, cat.of[p])
	}
	return &Explanation{Solution: sol, Absent: absent}, order, nil
}

// expand splits Include into what is asked for by itself, and the packages of groups. Packages of a group that no
// repository has are left out and noted: the groups of CentOS list some of Red Hat's.
func (rq *Request) expand(cat *catalog, absent *[]string) (include, fromGroups []string, err error) {
	for _, name := range rq.Include {
		if !strings.HasPrefix(name, "@") {
			include = append(include, name)
		}
	}
	for _, name := range rq.Include {
		id, ok := strings.CutPrefix(name, "@")
		if !ok {
			continue
		}
		g := cat.groups[id]
		if g == nil {
			return nil, nil, fault.New(fault.Missing, fmt.Errorf("no repository has a group %s", id), "check the spelling and the repositories")
		}
		for _, p := range g.packages(rq.Optional, include) {
			switch {
			case slices.Contains(rq.Exclude, p) || slices.Contains(fromGroups, p):
			case cat.spelt[p] == nil:
				*absent = append(*absent, id+": "+p)
			default:
				fromGroups = append(fromGroups, p)
			}
		}
	}
	return include, fromGroups, nil
}
