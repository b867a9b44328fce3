package transmutetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"ingot/internal/progress"
)

// CentOSOptions says how the transmuted CentOS 6 is made.
type CentOSOptions struct {
	Cache    string // see ArchOptions
	Progress *progress.Reporter
}

// CentOS is a mirror of a distribution that is made as CentOS 6.5 is: Dir/6.5/os/x86_64 with Packages and repodata, the key beside
// them. Its packages are signed; its metadata is not.
type CentOS struct {
	Dir         string
	Fingerprint string // of the key
	KeyFile     string
}

// centOSRelease is the release that the mirror has.
const centOSRelease = "6.5"

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
	if err := w.build(ctx, w.packages, o.Progress); err != nil {
		return nil, err
	}
	repository := filepath.Join(dir, centOSRelease, "os", "x86_64")
	packages := filepath.Join(repository, "Packages")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		return nil, err
	}
	var files []string
	for _, m := range w.packages {
		data, err := os.ReadFile(m.path)
		if err != nil {
			return nil, err
		}
		to := filepath.Join(packages, m.Name+".x86_64.rpm")
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return nil, err
		}
		files = append(files, to)
	}
	slices.Sort(files)
	c := &CentOS{Dir: dir, KeyFile: filepath.Join(repository, "RPM-GPG-KEY-CentOS-6")}
	if err := c.sign(ctx, files); err != nil {
		return nil, err
	}
	var core strings.Builder
	for _, name := range t.Core {
		fmt.Fprintf(&core, `<packagereq type="mandatory">%s</packagereq>`, name)
	}
	if err := os.WriteFile(filepath.Join(repository, "comps.xml"), fmt.Appendf(nil, comps, core.String()), 0o644); err != nil {
		return nil, err
	}
	_, err = peer(ctx, "", "createrepo_c", "-q", "-g", "comps.xml", "-s", "sha256", repository)
	return c, err
}

// Mirror is the base URL, with yum's variables.
func (c *CentOS) Mirror() string { return "file://" + c.Dir + "/$releasever/$repo/$basearch" }

// sign makes a key, and signs packages by it.
func (c *CentOS) sign(ctx context.Context, files []string) (err error) {
	home, err := os.MkdirTemp("", "ingot-gpg-*")
	if err != nil {
		return err
	}
	defer func() {
		_, stopped := peer(context.WithoutCancel(ctx), home, "gpgconf", "--kill", "gpg-agent")
		err = errors.Join(err, stopped, os.RemoveAll(home))
	}()
	const name = "Transmuted CentOS <centos@example.org>"
	if _, err := peer(ctx, home, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", name, "rsa2048", "sign", "never"); err != nil {
		return err
	}
	list, err := peer(ctx, home, "gpg", "--batch", "--with-colons", "--list-keys")
	if err != nil {
		return err
	}
	_, rest, _ := bytes.Cut(list, []byte("\nfpr:"))
	c.Fingerprint = string(bytes.Trim(bytes.SplitN(rest, []byte("\n"), 2)[0], ":"))
	key, err := peer(ctx, home, "gpg", "--batch", "--armor", "--export")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.KeyFile, key, 0o644); err != nil {
		return err
	}
	_, err = peer(ctx, home, "rpmsign", append([]string{"--define", "__gpg /usr/bin/gpg", "--define", "_gpg_name " + c.Fingerprint,
		"--define", "_gpg_digest_algo sha256", "--addsign"}, files...)...)
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
