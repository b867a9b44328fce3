package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/transmutetest"
)

// refuses offers a package that is not as it must be, in a mirror that is as CentOS's otherwise: whoever can change what a mirror has
// can write its metadata, too, since nobody signs these.
func refuses(t *testing.T, c *transmutetest.CentOS) {
	const name = "basesystem"
	old := transmutetest.Signing{Name: "Old <old@example.org>", Digest: "sha256", Expires: "1y", Time: "20110703T000000!"}
	weak := transmutetest.Signing{Name: "Weak <weak@example.org>", Digest: "sha1", Expires: "never"}
	for what, tc := range map[string]struct {
		signing *transmutetest.Signing
		change  func(file string) error
		trust   string // what of the recipe makes it good, "" for nothing
		want    string // of the error
	}{
		"changed":     {change: flip, want: "it should be"},
		"unsigned":    {change: func(file string) error { return transmutetest.Unsign(t.Context(), file) }, want: "it is not signed"},
		"expired key": {signing: &old, trust: "expired-keys", want: "has expired since, and the recipe does not allow expired keys"},
		"SHA-1":       {signing: &weak, trust: "sha1", want: "SHA-1"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			command(t, "cp", "-al", c.Dir, filepath.Join(dir, "mirror"))
			mirror := &transmutetest.CentOS{Dir: filepath.Join(dir, "mirror")}
			repository := filepath.Join(mirror.Dir, "6.5/os/x86_64")
			file := filepath.Join(repository, "Packages", name+".x86_64.rpm")
			copyTree(t, file, file+".own") // not the other mirror's
			if err := os.Rename(file+".own", file); err != nil {
				t.Fatal(err)
			}
			keys := fmt.Sprintf("{fingerprint: %s, file: %s}", c.Fingerprint, c.KeyFile)
			if tc.signing != nil {
				key, err := tc.signing.Sign(t.Context(), file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "key"), key.Public, 0o644); err != nil {
					t.Fatal(err)
				}
				keys += fmt.Sprintf(", {fingerprint: %s, file: %s}", key.Fingerprint, filepath.Join(dir, "key"))
			} else if err := tc.change(file); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(repository, "repodata")); err != nil {
				t.Fatal(err)
			}
			if err := mirror.Index(t.Context(), repository); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("name: refused\ndistro: centos\nrelease: \"6.5\"\nmirrors: [\"%s\"]\nkeys: [%s]\npackages: {exclude: [xfsprogs]}\n", mirror.Mirror(), keys)
			recipe := filepath.Join(dir, "refused.yaml")
			if err := os.WriteFile(recipe, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, recipe, nil, nil)
			out, err := w.run(t, 5*time.Minute, "lock", w.recipe)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 5 || !strings.Contains(out, name) || !strings.Contains(out, tc.want) {
				t.Errorf("%v: want exit code 5, %s and %q", err, name, tc.want)
			}
			if tc.trust == "" {
				return
			}
			text += "trust: {" + tc.trust + ": allow, reason: it is old}\n"
			if err := os.WriteFile(w.recipe, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			w.must(t, 5*time.Minute, "lock", w.recipe)
		})
	}
}

// flip changes a bit near the end of a file: in a package, of its payload.
func flip(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	data[len(data)-20] ^= 1
	return os.WriteFile(file, data, 0o644)
}
