package transmutetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"ingot/internal/progress"
)

// CentOSOptions says how the transmuted CentOS 6 is made.
type CentOSOptions struct {
	Cache    string   // see ArchOptions
	Releases []string // of CentOS; nil is 6.5 alone
	Progress *progress.Reporter
}

// CentOS is a mirror of a distribution that is made as CentOS 6 is: Dir/RELEASE/os/x86_64 with Packages and repodata, the key beside
// them. Its packages are signed; its metadata is not. Releases differ in the versions of their kernels alone.
type CentOS struct {
	Dir         string
	Fingerprint string // of the key
	KeyFile     string
}

// comps is the group core: packages that exist, and one that only Red Hat has.
const comps = `<?xml version="1.0" encoding="UTF-8"?>
<comps>
 <group><id>core</id><name>Core</name><description>Smallest possible installation</description><default>true</default><uservisible>false</uservisible>
  <packagelist>%s<packagereq type="mandatory">rhnsd</packagereq></packagelist></group>
</comps>
`

// NewCentOS makes the distribution below dir, which must not exist or be empty. It takes rpmbuild, rpmsign, createrepo_c and
// gpg. An error of kind Unreachable says that no mirror of Debian can be reached.
func NewCentOS(ctx context.Context, dir string, o CentOSOptions) (_ *CentOS, err error) {
	t, err := readTable("centos", rpmFormat)
	if err != nil {
		return nil, err
	}
	w, err := newWorkshop(ctx, t, o.Cache, o.Progress)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if o.Releases == nil {
		o.Releases = []string{"6.5"}
	}
	files := map[string]string{}    // where a package of the workshop lies first
	links := map[string][2]string{} // and where it lies too
	for _, release := range o.Releases {
		packages, err := w.release(release)
		if err != nil {
			return nil, err
		}
		if err := w.build(ctx, packages, o.Progress); err != nil {
			return nil, err
		}
		folder := filepath.Join(dir, release, "os", "x86_64", "Packages")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
		for _, m := range packages {
			to := filepath.Join(folder, m.Name+".x86_64.rpm")
			if first, ok := files[m.path]; ok {
				links[to] = [2]string{first, to}
				continue
			}
			data, err := os.ReadFile(m.path)
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(to, data, 0o644); err != nil {
				return nil, err
			}
			files[m.path] = to
		}
	}
	c := &CentOS{Dir: dir, KeyFile: filepath.Join(dir, o.Releases[0], "os", "x86_64", keyFile)}
	if err := c.sign(ctx, slices.Sorted(maps.Values(files))); err != nil {
		return nil, err
	}
	for _, l := range links {
		if err := os.Link(l[0], l[1]); err != nil {
			return nil, err
		}
	}
	for _, release := range o.Releases {
		if err := c.index(ctx, filepath.Join(dir, release, "os", "x86_64"), t.Core); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// keyFile is what the key is called beside a repository.
const keyFile = "RPM-GPG-KEY-CentOS-6"

// release returns the packages of a release.
func (w *workshop) release(name string) (map[string]*made, error) {
	versions, ok := w.table.Releases[name]
	if !ok {
		return nil, fmt.Errorf("the table has no release %s", name)
	}
	packages := maps.Clone(w.packages)
	for name, version := range versions {
		m := *packages[name]
		s := *m.spec
		s.Version, m.spec = version, &s
		packages[name] = &m
	}
	return packages, nil
}

// index writes the metadata of a repository, whose packages are in place.
func (c *CentOS) index(ctx context.Context, repository string, core []string) error {
	var list strings.Builder
	for _, name := range core {
		fmt.Fprintf(&list, `<packagereq type="mandatory">%s</packagereq>`, name)
	}
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"comps.xml": fmt.Appendf(nil, comps, list.String()), keyFile: key} {
		if err := os.WriteFile(filepath.Join(repository, name), text, 0o644); err != nil {
			return err
		}
	}
	return c.Index(ctx, repository)
}

// Index writes the metadata of a repository anew, whatever its packages are now.
func (c *CentOS) Index(ctx context.Context, repository string) error {
	_, err := peer(ctx, "", "createrepo_c", "-q", "-g", "comps.xml", "-s", "sha256", repository)
	return err
}

// Mirror is the base URL, with yum's variables.
func (c *CentOS) Mirror() string { return "file://" + c.Dir + "/$releasever/$repo/$basearch" }

// sign makes the mirror's key, and signs packages by it.
func (c *CentOS) sign(ctx context.Context, files []string) error {
	s := Signing{Name: "Transmuted CentOS <centos@example.org>", Digest: "sha256", Expires: "never"}
	key, err := s.Sign(ctx, files...)
	if err != nil {
		return err
	}
	c.Fingerprint = key.Fingerprint
	return os.WriteFile(c.KeyFile, key.Public, 0o644)
}

// Signing is how packages are signed, by a key made for that.
type Signing struct {
	Name    string // of the key
	Digest  string // as gpg calls it: sha256
	Expires string // the key's, as gpg takes it: never, 1y
	Time    string // when both key and signatures are made, as gpg's faked-system-time takes it; "" for now
}

// RPMKey is a key that has signed packages.
type RPMKey struct {
	Fingerprint string
	Public      []byte // armored
}

// Sign makes a key and signs packages by it, in place of other signatures.
func (s Signing) Sign(ctx context.Context, files ...string) (_ *RPMKey, err error) {
	home, err := os.MkdirTemp("", "ingot-gpg-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		_, stopped := peer(context.WithoutCancel(ctx), home, "gpgconf", "--kill", "gpg-agent")
		err = errors.Join(err, stopped, os.RemoveAll(home))
	}()
	gpg := filepath.Join(home, "gpg")
	script := "#!/bin/sh\nexec gpg \"$@\"\n"
	if s.Time != "" {
		script = "#!/bin/sh\nexec gpg --faked-system-time " + s.Time + " \"$@\"\n"
	}
	if err := os.WriteFile(gpg, []byte(script), 0o755); err != nil {
		return nil, err
	}
	if _, err := peer(ctx, home, gpg, "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", s.Name, "rsa2048", "sign", s.Expires); err != nil {
		return nil, err
	}
	list, err := peer(ctx, home, "gpg", "--batch", "--with-colons", "--list-keys")
	if err != nil {
		return nil, err
	}
	_, rest, _ := bytes.Cut(list, []byte("\nfpr:"))
	key := &RPMKey{Fingerprint: string(bytes.Trim(bytes.SplitN(rest, []byte("\n"), 2)[0], ":"))}
	if key.Public, err = peer(ctx, home, "gpg", "--batch", "--armor", "--export"); err != nil {
		return nil, err
	}
	_, err = peer(ctx, home, "rpmsign", append([]string{"--define", "__gpg " + gpg, "--define", "_gpg_name " + key.Fingerprint,
		"--define", "_gpg_digest_algo " + s.Digest, "--resign"}, files...)...)
	return key, err
}

// Unsign removes the signature of a package.
func Unsign(ctx context.Context, file string) error {
	_, err := peer(ctx, "", "rpmsign", "--delsign", file)
	return err
}

// peer runs a program of the host, with keys of its own.
func peer(ctx context.Context, home, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+home, "LC_ALL=C.UTF-8")
	var messages bytes.Buffer
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", program, err, out, messages.Bytes())
	}
	return out, err
}
