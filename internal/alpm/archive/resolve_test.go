package archive_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/alpm"
	"ingot/internal/alpm/archive"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/transmutetest"
)

// world is a small distribution and a client of it.
type world struct {
	*transmutetest.Arch
	client *fetch.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	a, err := transmutetest.NewEmptyArch(filepath.Join(t.TempDir(), "mirror"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := fetch.New(fetch.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &world{a, c}
	w.add(t, "core", transmutetest.Small{Name: "pacman", Version: "6.1.0-3", Depends: []string{"glibc"}}, nil)
	w.add(t, "core", transmutetest.Small{Name: "glibc", Version: "2:2.40-1"}, nil)
	w.add(t, "extra", transmutetest.Small{Name: "htop", Version: "3.3.0-1", Depends: []string{"glibc>=2:2.38"}}, nil)
	w.add(t, "ec2", transmutetest.Small{Name: "htop", Version: "3.2.0-9"}, nil)
	return w
}

func (w *world) add(t *testing.T, repository string, s transmutetest.Small, key *transmutetest.Key) *transmutetest.Package {
	t.Helper()
	p, err := w.Add(repository, s, key)
	if err != nil {
		t.Fatal(err)
	}
	w.update(t, repository)
	return p
}

func (w *world) update(t *testing.T, repository string) {
	t.Helper()
	if err := w.Update(repository); err != nil {
		t.Fatal(err)
	}
}

// ask is a request to core and extra.
func (w *world) ask(targets ...string) archive.Ask {
	a := archive.Ask{Request: archive.Request{Targets: targets, Arch: "x86_64"}, Keyring: "archlinux-keyring", Masters: w.MasterFingerprints()}
	for _, name := range []string{"core", "extra"} {
		a.Repositories = append(a.Repositories, archive.Repository{Name: name, Mirrors: archive.Servers(w.Mirrors(), name, "x86_64")})
	}
	return a
}

// withEC2 puts the repository ec2 first.
func (w *world) withEC2(t *testing.T, a archive.Ask) archive.Ask {
	t.Helper()
	public, err := os.ReadFile(filepath.Join(w.KeyDir, "ec2.gpg"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := fetch.ReadKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	ec2 := archive.Repository{Name: "ec2", Mirrors: archive.Servers(w.Mirrors(), "ec2", "x86_64"), Keys: keys, SignedDatabase: true}
	a.Repositories = append([]archive.Repository{ec2}, a.Repositories...)
	return a
}

func (w *world) resolve(t *testing.T, a archive.Ask) *lock.Lock {
	t.Helper()
	l, _, err := archive.Resolve(t.Context(), w.client, a, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Parse(l.Bytes()); err != nil {
		t.Errorf("the lock cannot be read back: %v", err)
	}
	return l
}

func names(l *lock.Lock) string {
	var all []string
	for _, p := range l.Packages {
		all = append(all, p.Repository+"/"+p.Name+"-"+p.Version)
	}
	return strings.Join(all, " ")
}

func TestResolve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.resolve(t, w.ask("htop", "archlinux-keyring"))
	if got, want := names(l), "core/glibc-2:2.40-1 extra/htop-3.3.0-1 core/pacman-6.1.0-3 core/archlinux-keyring-20250101-1"; got != want {
		t.Errorf("packages %s, not %s", got, want)
	}
	for _, p := range l.Packages {
		signer := w.Keys.Packager
		if p.Repository == "extra" {
			signer = w.Keys.Second
		}
		if len(p.Signers) != 1 || p.Signers[0] != signer.Fingerprint {
			t.Errorf("%s is signed by %v, not %s", p.Name, p.Signers, signer.Fingerprint)
		}
		if explicit := p.Name == "htop" || p.Name == "archlinux-keyring"; p.Explicit != explicit {
			t.Errorf("%s: explicit %v", p.Name, p.Explicit)
		}
	}
	if len(l.Indexes) != 2 || l.Indexes[0].Signers != nil || l.Date.IsZero() || l.Date.After(time.Now()) {
		t.Errorf("indexes %+v, date %s", l.Indexes, l.Date)
	}
	again := w.resolve(t, w.ask("htop", "archlinux-keyring"))
	if !bytes.Equal(l.Bytes(), again.Bytes()) {
		t.Error("the same question has another answer")
	}
}

func TestResolveFirstRepositoryWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.resolve(t, w.withEC2(t, w.ask("htop")))
	if got, want := names(l), "ec2/htop-3.2.0-9"; got != want {
		t.Errorf("packages %s, not %s", got, want)
	}
	if ix := l.Indexes[0]; !slices.Equal(ix.Signers, []string{w.Keys.EC2.Fingerprint}) || !slices.Equal(l.Packages[0].Signers, ix.Signers) {
		t.Errorf("signed by %v and %v, not by %s", ix.Signers, l.Packages[0].Signers, w.Keys.EC2.Fingerprint)
	}
}

func TestResolveAlternatives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for target, want := range map[string]string{
		"htop|glibc":    "htop",
		"nothing|glibc": "glibc",
	} {
		l := w.resolve(t, w.ask(target))
		if last := l.Packages[len(l.Packages)-1]; last.Name != want {
			t.Errorf("%s: %s, not %s", target, last.Name, want)
		}
	}
	a := w.ask("htop|pacman", "glibc|nothing")
	a.Exclude = []string{"htop", "pacman"}
	if got := names(w.resolve(t, a)); got != "core/glibc-2:2.40-1" {
		t.Errorf("with alternatives excluded: %s", got)
	}
	if _, _, err := archive.Resolve(t.Context(), w.client, w.ask("no|nothing"), nil); fault.KindOf(err) != fault.Missing || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("no alternative there: %v", err)
	}
}

// TestRefusals has one thing wrong with a package or a repository at a time.
func TestRefusals(t *testing.T) {
	t.Parallel()
	htop := transmutetest.Small{Name: "htop", Version: "3.3.0-2"}
	signedBy := func(key func(*transmutetest.Keys) *transmutetest.Key) func(*testing.T, *world, *archive.Ask) {
		return func(t *testing.T, w *world, _ *archive.Ask) { w.add(t, "extra", htop, key(w.Keys)) }
	}
	for name, tc := range map[string]struct {
		change func(*testing.T, *world, *archive.Ask)
		kind   fault.Kind
		want   []string // parts of the message
	}{
		"two masters":              {signedBy(func(k *transmutetest.Keys) *transmutetest.Key { return k.Marginal }), fault.Trust, []string{"htop 3.3.0-2", "certified by 2 of the 5"}},
		"revoked":                  {signedBy(func(k *transmutetest.Keys) *transmutetest.Key { return k.Revoked }), fault.Trust, []string{"htop 3.3.0-2", "revoked"}},
		"expired":                  {signedBy(func(k *transmutetest.Keys) *transmutetest.Key { return k.Expired }), fault.Trust, []string{"htop 3.3.0-2", "expired"}},
		"stranger":                 {signedBy(func(k *transmutetest.Keys) *transmutetest.Key { return k.Stranger }), fault.Trust, []string{"htop 3.3.0-2", "signature"}},
		"another repository's key": {signedBy(func(k *transmutetest.Keys) *transmutetest.Key { return k.EC2 }), fault.Trust, []string{"htop 3.3.0-2", "signature"}},
		"unsigned": {func(t *testing.T, w *world, _ *archive.Ask) {
			if err := w.Unsign(w.add(t, "extra", htop, nil)); err != nil {
				t.Fatal(err)
			}
			w.update(t, "extra")
		}, fault.Trust, []string{"htop 3.3.0-2", "not signed"}},
		"another package's signature": {func(t *testing.T, w *world, _ *archive.Ask) {
			a, b := w.add(t, "extra", htop, nil), w.add(t, "extra", transmutetest.Small{Name: "btop", Version: "1-1"}, nil)
			copyFile(t, b.File+".sig", a.File+".sig")
		}, fault.Trust, []string{"htop 3.3.0-2", "signature"}},
		"truncated": {func(t *testing.T, w *world, _ *archive.Ask) {
			p := w.add(t, "extra", htop, nil)
			if err := os.Truncate(p.File, p.FileSize/2); err != nil {
				t.Fatal(err)
			}
		}, fault.Trust, []string{"htop"}},
		"changed": {func(t *testing.T, w *world, _ *archive.Ask) {
			p := w.add(t, "extra", htop, nil)
			data, err := os.ReadFile(p.File)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(p.File, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}, fault.Trust, []string{"htop", "SHA-256"}},
		"a database that lies about a version": {func(t *testing.T, w *world, _ *archive.Ask) {
			w.add(t, "extra", htop, nil).Version = "99-1"
			w.update(t, "extra")
		}, fault.Trust, []string{"htop 99-1", "version as 99-1, the signed package as 3.3.0-2"}},
		"a database that hides a dependency": {func(t *testing.T, w *world, _ *archive.Ask) {
			s := htop
			s.Depends = []string{"glibc"}
			w.add(t, "extra", s, nil).Depends = nil
			w.update(t, "extra")
		}, fault.Trust, []string{"htop 3.3.0-2", "dependencies"}},
		"a hostile file name": {func(t *testing.T, w *world, _ *archive.Ask) {
			w.add(t, "extra", htop, nil).File = "../../../etc/passwd/.."
			w.update(t, "extra")
		}, fault.Input, []string{"htop", "no name of a package file"}},
		"an unsigned database": {func(t *testing.T, w *world, a *archive.Ask) { a.Repositories[0].SignedDatabase = true },
			fault.Trust, []string{"core", "not signed"}},
		"a database signed by a stranger": {func(t *testing.T, w *world, a *archive.Ask) {
			*a = w.withEC2(t, *a)
			folder := filepath.Join(w.Dir, "ec2/os/x86_64")
			sig, err := w.Keys.Stranger.Sign(bytes.NewReader(read(t, filepath.Join(folder, "ec2.db"))))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "ec2.db.tar.gz.sig"), sig, 0o644); err != nil {
				t.Fatal(err)
			}
		}, fault.Trust, []string{"ec2"}},
		"no keyring": {func(t *testing.T, w *world, a *archive.Ask) {
			w.Remove("core", "archlinux-keyring")
			w.update(t, "core")
		}, fault.Missing, []string{"archlinux-keyring"}},
		"a master that the keyring lacks": {func(t *testing.T, w *world, a *archive.Ask) {
			a.Masters = append(a.Masters, w.Keys.Stranger.Fingerprint)
		}, fault.Trust, []string{"archlinux-keyring"}},
		"a keyring of other masters": {func(t *testing.T, w *world, a *archive.Ask) {
			other := newWorld(t)
			a.Masters = other.MasterFingerprints()
		}, fault.Trust, []string{"archlinux-keyring"}},
		"older than the lock": {func(t *testing.T, w *world, a *archive.Ask) {
			a.Previous = w.resolve(t, w.ask("htop"))
			w.add(t, "extra", transmutetest.Small{Name: "htop", Version: "3.1.0-1"}, nil)
		}, fault.Trust, []string{"htop 3.1.0-1", "older than 3.3.0-1"}},
		"older than the lock, from another repository": {func(t *testing.T, w *world, a *archive.Ask) {
			a.Previous = w.resolve(t, w.ask("glibc"))
			a.Targets = []string{"glibc"}
			w.Remove("core", "glibc")
			w.update(t, "core")
			w.add(t, "extra", transmutetest.Small{Name: "glibc", Version: "2:2.39-1"}, nil)
		}, fault.Trust, []string{"glibc 2:2.39-1 of repository extra is older than 2:2.40-1"}},
		"a keyring of a repository with keys of its own": {func(t *testing.T, w *world, a *archive.Ask) {
			*a = w.withEC2(t, *a)
			w.add(t, "ec2", transmutetest.Small{Name: "archlinux-keyring", Version: "1-1"}, nil)
			w.Remove("core", "archlinux-keyring")
			w.update(t, "core")
		}, fault.Missing, []string{"archlinux-keyring"}},
		"a database that lies about a size": {func(t *testing.T, w *world, _ *archive.Ask) {
			w.add(t, "extra", htop, nil).FileSize++
			w.update(t, "extra")
		}, fault.Trust, []string{"htop"}},
		"a database that lies about a sum": {func(t *testing.T, w *world, _ *archive.Ask) {
			w.add(t, "extra", htop, nil).SHA256 = strings.Repeat("0", 64)
			w.update(t, "extra")
		}, fault.Trust, []string{"htop", "SHA-256"}},
		"a keyring without an end": {func(t *testing.T, w *world, _ *archive.Ask) {
			w.add(t, "core", transmutetest.Small{Name: "archlinux-keyring", Version: "2-1"}, nil).FileSize = 1 << 40
			w.update(t, "core")
		}, fault.Input, []string{"archlinux-keyring", "1099511627776 bytes"}},
		"two repositories of a name": {func(t *testing.T, w *world, a *archive.Ask) {
			a.Repositories = append(a.Repositories, archive.Repository{Name: "core"})
		}, fault.Input, []string{"core", "another one has it"}},
		"dated in the future": {func(t *testing.T, w *world, _ *archive.Ask) {
			s := htop
			s.Built = time.Now().Add(10 * 24 * time.Hour)
			w.add(t, "extra", s, nil)
		}, fault.Trust, []string{"extra", "future"}},
		"no repository": {func(t *testing.T, w *world, a *archive.Ask) {
			a.Repositories[1].Mirrors = []string{"file:///nowhere"}
		}, fault.Unreachable, []string{"extra"}},
		"a broken database": {func(t *testing.T, w *world, a *archive.Ask) {
			if err := os.WriteFile(filepath.Join(w.Dir, "extra/os/x86_64/extra.db"), []byte("nonsense"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, fault.Input, []string{"extra"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a := w.ask("htop")
			tc.change(t, w, &a)
			l, _, err := archive.Resolve(t.Context(), w.client, a, nil)
			if err == nil {
				t.Fatalf("it was accepted: %s", names(l))
			}
			if fault.KindOf(err) != tc.kind {
				t.Errorf("%v: of kind %v", err, fault.KindOf(err))
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v: it does not say %q", err, part)
				}
			}
		})
	}
}

// local is the database of a repository of this machine.
func local(t *testing.T, name string, packages ...*alpm.Package) *archive.Database {
	t.Helper()
	d, err := archive.NewDatabase(name, packages)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestResolveLocal has a package of this machine win over the mirror's. It is not fetched, and may go back.
func TestResolveLocal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.ask("htop")
	for _, version := range []string{"9-1", "1-1"} {
		db := local(t, "aur", &alpm.Package{Name: "htop", Version: version, Arch: "any", Filename: "htop-" + version + "-any.pkg.tar.zst",
			FileSize: 1, SHA256: strings.Repeat("0", 64), Depends: []alpm.Depend{{Name: "glibc"}}})
		d, err := archive.Read(t.Context(), w.client, a, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, _, err := d.Resolve(t.Context(), a.Request, db)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := names(l), "core/glibc-2:2.40-1 aur/htop-"+version; got != want {
			t.Errorf("packages %s, not %s", got, want)
		}
		if len(l.Indexes) != 2 || l.Packages[1].Signers != nil {
			t.Errorf("indexes %v, signers %v", l.Indexes, l.Packages[1].Signers)
		}
		a.Previous = l
	}
}

func TestResolveOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	online, err := fetch.New(fetch.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer online.Close()
	w.client = online
	first := w.resolve(t, w.ask("htop"))
	if w.client, err = fetch.New(fetch.Options{Dir: dir, Offline: true}); err != nil {
		t.Fatal(err)
	}
	defer w.client.Close()
	if again := w.resolve(t, w.ask("htop")); !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Error("offline, the answer is another one")
	}
}

func TestResolveCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := archive.Resolve(ctx, w.client, w.ask("htop"), nil); err == nil {
		t.Error("a cancelled request was answered")
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.WriteFile(to, read(t, from), 0o644); err != nil {
		t.Fatal(err)
	}
}
