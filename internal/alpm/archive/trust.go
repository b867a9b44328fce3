package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	"ingot/internal/alpm"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
)

// Keyrings is where a keyring package has its certificates (pacman-key(8)); maxKeyring is how large they may be, in bytes. Arch's
// has 2 MB.
const (
	Keyrings   = "usr/share/pacman/keyrings"
	maxKeyring = 64 << 20
)

// trust says for each repository who may sign in it.
func (a *Ask) trust(ctx context.Context, c *fetch.Client, sources []*source, t *progress.Task) error {
	var web *fetch.Web
	for _, s := range sources {
		if s.Keys != nil {
			s.trust = s.Keys
			continue
		}
		if web == nil {
			var err error
			if web, err = a.web(ctx, c, sources, t); err != nil {
				return fmt.Errorf("reading the keyring package %s: %w", a.Keyring, err)
			}
		}
		s.trust = web
	}
	return nil
}

// web makes the web of trust of the packagers' certificates. These come from the keyring package of the first
// repository of those it is for that has it, which need not be trusted for that: only what the masters certify counts, and they are
// known by their fingerprints. Only the list of revoked keys could be withheld by an old package, which is why
// Resolve asks for newer packages than before, and verifies this one as any other if it is chosen.
func (a *Ask) web(ctx context.Context, c *fetch.Client, sources []*source, t *progress.Task) (*fetch.Web, error) {
	for _, s := range sources {
		p := s.db.Package(a.Keyring)
		if p == nil || s.Keys != nil {
			continue
		}
		if err := p.CheckFile(); err != nil {
			return nil, fault.Newf(fault.Input, "repository %s: %w", s.Name, err)
		}
		if p.FileSize > maxKeyring {
			return nil, fault.Newf(fault.Input, "repository %s: %s has %d bytes, more than %d", s.Name, p, p.FileSize, maxKeyring)
		}
		t.Grow(p.FileSize)
		file, err := c.Get(ctx, fetch.File{Path: p.Filename, Size: p.FileSize, SHA256: p.SHA256, Name: p.Name, Mirrors: s.mirrors}, t)
		if err != nil {
			return nil, err
		}
		keys, revoked, err := readKeyring(file)
		if err != nil {
			return nil, err
		}
		ring, err := fetch.ReadKeys(keys...)
		if err != nil {
			return nil, err
		}
		return fetch.NewWeb(ring, a.Masters, revoked)
	}
	return nil, fault.New(fault.Missing, errors.New("no repository has it"), "its certificates say which packagers may be trusted; add the repository that has it")
}

// readKeyring returns the certificates in a keyring package, and the fingerprints of those that are revoked.
func readKeyring(file string) (keys [][]byte, revoked []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	p, err := alpm.NewReader(f)
	if err != nil {
		return nil, nil, err
	}
	defer p.Close()
	for left := int64(maxKeyring); ; {
		h, err := p.Next()
		if errors.Is(err, io.EOF) {
			return keys, revoked, nil
		} else if err != nil {
			return nil, nil, err
		}
		certificates, list := strings.HasSuffix(h.Name, ".gpg"), strings.HasSuffix(h.Name, "-revoked")
		if path.Dir(h.Name) != Keyrings || !certificates && !list {
			continue
		}
		if left -= h.Size; left < 0 {
			return nil, nil, fault.Newf(fault.Input, "its keys have more than %d bytes", maxKeyring)
		}
		text, err := io.ReadAll(p)
		if err != nil {
			return nil, nil, err
		}
		if certificates {
			keys = append(keys, text)
		} else {
			revoked = append(revoked, strings.Fields(string(text))...)
		}
	}
}

// verify fetches the chosen packages and checks the signature of each. The lock gets the signers.
func (d *Databases) verify(ctx context.Context, l *lock.Lock, sel *Selection, of map[string]*source) error {
	var files []fetch.File
	var which []int
	for i, p := range l.Packages {
		if s := of[p.Repository]; s != nil {
			files = append(files, fetch.File{Path: p.Path, Size: p.Size, SHA256: p.SHA256, Name: p.Name, Mirrors: s.mirrors})
			which = append(which, i)
		}
	}
	return d.fetch.Verified(ctx, files, d.progress, func(ctx context.Context, n int, path string) (err error) {
		p, chosen := &l.Packages[which[n]], sel.Choices[which[n]].Package
		if p.Signers, err = d.signersOf(ctx, of[p.Repository], chosen, path); err != nil {
			return fmt.Errorf("package %s of repository %s: %w", chosen, p.Repository, err)
		}
		return nil
	})
}

// signersOf verifies a package, unless that has been done.
func (d *Databases) signersOf(ctx context.Context, s *source, p *alpm.Package, file string) ([]string, error) {
	key := s.Name + "/" + p.Name
	d.mu.Lock()
	signers, known := d.signers[key]
	d.mu.Unlock()
	if known {
		return signers, nil
	}
	signers, err := d.ask.verifyPackage(ctx, d.fetch, s, p, file)
	if err == nil {
		d.mu.Lock()
		d.signers[key] = signers
		d.mu.Unlock()
	}
	return signers, err
}

// verifyPackage checks that a package file is signed, and that it is the package which the database describes.
func (a *Ask) verifyPackage(ctx context.Context, c *fetch.Client, s *source, p *alpm.Package, file string) (signers []string, err error) {
	sig := p.Signature
	if sig == nil {
		sig, _, err = c.Bytes(ctx, s.mirrors, p.Filename+".sig", maxSignature)
		if errors.Is(err, fetch.ErrAbsent) {
			return nil, fault.New(fault.Trust, fmt.Errorf("it is not signed: neither the database nor a mirror has a signature of %s", p.Filename),
				"packages must be signed by a key that the recipe trusts")
		}
		if err != nil {
			return nil, err
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	good, err := s.trust.VerifyDetached(f, sig, a.Now)
	if err != nil {
		return nil, fmt.Errorf("verifying its signature: %w", err)
	}
	for _, g := range good {
		signers = append(signers, g.Fingerprint)
	}
	slices.Sort(signers)
	r, err := alpm.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return slices.Compact(signers), describes(p, r.Info)
}

// describes says where a database's description of a package differs from the signed package, in what decides
// about the image: without a look at it, an unsigned database could pass one package off as another, or hide
// that it needs a third.
func describes(said, is *alpm.Package) error {
	for _, field := range []struct {
		name     string
		said, is any
	}{
		{"name", said.Name, is.Name},
		{"version", said.Version, is.Version},
		{"architecture", said.Arch, is.Arch},
		{"dependencies", said.Depends, is.Depends},
		{"conflicts", said.Conflicts, is.Conflicts},
		{"provides", said.Provides, is.Provides},
		{"replaces", said.Replaces, is.Replaces},
		{"groups", said.Groups, is.Groups},
	} {
		if !reflect.DeepEqual(field.said, field.is) {
			return fault.New(fault.Trust, fmt.Errorf("the database gives its %s as %v, the signed package as %v", field.name, field.said, field.is),
				"the mirror is broken or hostile; use another one")
		}
	}
	return nil
}
