package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/rpm/archive"
)

// sign signs packages with a new key, as rpmsign does, and returns the key.
func sign(t *testing.T, paths []string) *fetch.Keyring {
	t.Helper()
	home, err := os.MkdirTemp("", "gpg") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	run := func(name string, args ...string) []byte {
		t.Helper()
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: %v", name, err)
		}
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v", name, args, err)
		}
		return out
	}
	t.Cleanup(func() { run("gpgconf", "--kill", "all") })
	run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Test <test@invalid>", "rsa2048", "sign", "never")
	run("rpmsign", append([]string{"--addsign", "--define", "_gpg_name test@invalid", "--define", "__gpg /usr/bin/gpg"}, paths...)...)
	keys, err := fetch.ReadKeys(run("gpg", "--export"))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestRoad takes packages from a signed repository to a tree.
func TestRoad(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/world.spec")
	if err != nil {
		t.Fatal(err)
	}
	paths := rpmbuild(t, string(text))
	keys := sign(t, paths)
	if _, err := exec.LookPath("createrepo_c"); err != nil {
		t.Skipf("createrepo_c is not installed: %v", err)
	}
	dir := filepath.Dir(paths[0])
	if out, err := exec.Command("createrepo_c", "--quiet", dir).CombinedOutput(); err != nil {
		t.Fatalf("createrepo_c: %v\n%s", err, out)
	}
	c, err := fetch.New(fetch.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, _, err := archive.Resolve(t.Context(), c, archive.Request{Arch: "x86_64", Include: []string{"asks"},
		Repositories: []archive.Repository{{Name: "world", Mirrors: []string{"file://" + dir}, Keys: keys}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Packages {
		if len(p.Signers) != 1 || len(p.Signers[0]) != 40 || p.Explicit != (p.Name == "asks") {
			t.Errorf("%+v", p)
		}
	}
	in := mustInstall(t, paths, func(o *Options) {
		o.Lock, o.File = l, func(p lock.Package) string { path, _ := c.Cached(p.SHA256); return path }
	})
	out, err := rpmIn(in.root, "-qa")
	if err != nil || strings.Count(out, "\n") != len(l.Packages) || len(l.Packages) < 12 {
		t.Errorf("rpm -qa: %v\n%s", err, out)
	}
	log, err := os.ReadFile(filepath.Join(in.root, "log"))
	if err != nil || !strings.Contains(string(log), "late on itself") {
		t.Errorf("log: %v\n%s", err, log)
	}
}
