package archive

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/deb"
	"ingot/internal/fetch"
)

// bookworm returns Debian 12's repositories on the mirror that tests may use: the one that the environment
// variable INGOT_TEST_MIRROR names (http://HOST/debian, with the security archive in debian-security beside
// it), else the one that this host's own apt uses. Where there is none, the test is skipped.
func bookworm(t testing.TB) []Repository {
	t.Helper()
	keys, err := os.ReadFile("/usr/share/keyrings/debian-archive-keyring.gpg")
	if err != nil {
		t.Skip("Debian's keys are not on this host:", err)
	}
	ring, err := fetch.ReadKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	mirror := os.Getenv("INGOT_TEST_MIRROR")
	if mirror == "" {
		mirror = hostMirror(t)
	}
	if mirror == "" {
		t.Skip("neither INGOT_TEST_MIRROR nor this host's apt sources name a Debian mirror")
	}
	mirror = strings.TrimSuffix(mirror, "/")
	repository := func(suite, mirror string) Repository {
		return Repository{Name: suite, Mirrors: []string{mirror}, Suite: suite, Components: []string{"main"}, Keys: ring}
	}
	return []Repository{
		repository("bookworm", mirror),
		repository("bookworm-updates", mirror),
		repository("bookworm-security", mirror+"-security"),
	}
}

// hostMirror returns the first mirror of Debian's main archive in the host's sources.list(5), or "".
func hostMirror(t testing.TB) string {
	t.Helper()
	var uris []string
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, name := range append([]string{"/etc/apt/sources.list"}, files...) {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		switch {
		case strings.HasSuffix(name, ".sources"):
			var kept []byte
			for line := range bytes.Lines(text) {
				if !bytes.HasPrefix(line, []byte("#")) {
					kept = append(kept, line...)
				}
			}
			s := deb.NewScanner(bytes.NewReader(kept))
			var p deb.Paragraph
			for err = s.Next(&p); err == nil; err = s.Next(&p) {
				uris = append(uris, strings.Fields(p.Get("URIs"))...)
			}
			if !errors.Is(err, io.EOF) {
				t.Logf("%s: %v", name, err)
			}
		case strings.HasSuffix(name, ".list"):
			for line := range strings.Lines(string(text)) {
				if f := strings.Fields(line); len(f) > 0 && f[0] == "deb" {
					uris = append(uris, f[1:]...)
				}
			}
		}
	}
	i := slices.IndexFunc(uris, func(s string) bool {
		u, err := url.Parse(s)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/debian")
	})
	if i < 0 {
		return ""
	}
	return uris[i]
}

// client returns a client with an empty cache.
func client(t testing.TB) *fetch.Client {
	t.Helper()
	c, err := fetch.New(fetch.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
