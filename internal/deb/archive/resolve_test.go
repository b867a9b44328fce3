package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/fetch"
)

// signed is the time that the test's archive is dated and signed at.
var signed = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// archiveOf makes an archive with one suite, frozen, and one component, main, and returns its repository.
// change may alter the Release before it is signed.
func archiveOf(t *testing.T, packages []byte, change func(release string) string) (Repository, string) {
	t.Helper()
	config := &packet.Config{Time: func() time.Time { return signed }, Algorithm: packet.PubKeyAlgoEdDSA}
	key, err := openpgp.NewEntity("Test Archive", "", "archive@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	if err := key.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	ring, err := fetch.ReadKeys(public.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	folder := filepath.Join(root, "dists/frozen/main/binary-amd64")
	digest := sha256.Sum256(packages)
	sum := hex.EncodeToString(digest[:])
	for _, name := range []string{"Packages.xz", "by-hash/SHA256/" + sum} {
		write(t, filepath.Join(folder, name), packages)
	}
	text := fmt.Sprintf("Suite: stable\nCodename: frozen\nDate: %s\nValid-Until: %s\nAcquire-By-Hash: yes\n"+
		"Architectures: all amd64\nNo-Support-for-Architecture-all: Packages\nSHA256:\n %s %d main/binary-amd64/Packages.xz\n",
		signed.Format(time.RFC1123), signed.AddDate(0, 0, 7).Format(time.RFC1123), sum, len(packages))
	if change != nil {
		text = change(text)
	}
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, key.PrivateKey, config)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, strings.TrimSuffix(text, "\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "dists/frozen/InRelease"), append(b.Bytes(), '\n'))
	return Repository{Name: "frozen", Mirrors: []string{"file://" + root}, Suite: "frozen", Components: []string{"main"}, Keys: ring}, root
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	packages, err := os.ReadFile(filepath.Join("testdata", "Packages.xz"))
	if err != nil {
		t.Fatal(err)
	}
	rp, root := archiveOf(t, packages, nil)
	server := httptest.NewServer(http.FileServer(http.Dir(root)))
	t.Cleanup(server.Close)
	rp.Mirrors = []string{server.URL}
	dir := t.TempDir()
	c, err := fetch.New(fetch.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	rq := Request{Repositories: []Repository{rp}, Arch: "amd64", Include: []string{"cron"}, Essential: true, Now: signed.Add(time.Hour)}
	first, why, err := Resolve(t.Context(), c, rq, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Indexes) != 1 || !first.Date.Equal(signed) || first.Format != "deb" || len(first.Indexes[0].Signers) != 1 ||
		first.Indexes[0].Path != "dists/frozen/InRelease" {
		t.Errorf("%+v", first.Indexes)
	}
	if chain := why.Why("libc6"); len(chain) == 0 || chain[len(chain)-1].By != nil {
		t.Errorf("why libc6: %v", chain)
	}

	// Offline, from the digest of the index; then with a digest that is damaged.
	server.Close()
	digests, _ := filepath.Glob(filepath.Join(dir, "*", "*", "*"+digestSuffix))
	if len(digests) != 1 {
		t.Fatalf("digests %v", digests)
	}
	offline, err := fetch.New(fetch.Options{Dir: dir, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(offline.Close)
	for _, state := range []string{"whole", "damaged"} {
		second, _, err := Resolve(t.Context(), offline, rq, nil)
		if err != nil {
			t.Fatalf("offline, digest %s: %v", state, err)
		}
		if d := cmp.Diff(first, second); d != "" {
			t.Errorf("offline, digest %s (-first +second)\n%s", state, d)
		}
		data, err := os.ReadFile(digests[0])
		if err != nil {
			t.Fatal(err)
		}
		write(t, digests[0], data[:len(data)/2])
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	packages, err := os.ReadFile(filepath.Join("testdata", "Packages.xz"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		release  func(string) string
		rq       func(*Request)
		mirror   func(root string) // alters the mirror
		packages []byte
		kind     fault.Kind
		mention  string
	}{
		"expired":         {rq: func(rq *Request) { rq.Now = signed.AddDate(0, 0, 8) }, kind: fault.Trust, mention: "expired on 2026-11-08"},
		"another suite":   {release: func(s string) string { return strings.ReplaceAll(s, "frozen", "other") }, kind: fault.Trust, mention: `not for "frozen"`},
		"another key":     {rq: func(rq *Request) { rq.Repositories[0].Keys, _ = archiveKeys(t) }, kind: fault.Trust, mention: "InRelease"},
		"component":       {rq: func(rq *Request) { rq.Repositories[0].Components = []string{"contrib"} }, kind: fault.Missing, mention: "contrib"},
		"architecture":    {rq: func(rq *Request) { rq.Arch = "arm64" }, kind: fault.Missing, mention: "arm64"},
		"malformed index": {packages: []byte("Package: a\nnonsense\n"), kind: fault.Input, mention: "line 2"},
		"sum": {mirror: func(root string) {
			paths, _ := filepath.Glob(filepath.Join(root, "dists/frozen/main/binary-amd64/by-hash/SHA256/*"))
			for _, p := range append(paths, filepath.Join(root, "dists/frozen/main/binary-amd64/Packages.xz")) {
				write(t, p, bytes.Repeat([]byte{1}, len(packages)))
			}
		}, kind: fault.Trust, mention: "frozen"},
		"no mirror": {rq: func(rq *Request) { rq.Repositories[0].Mirrors = []string{"file:///nonexistent"} }, kind: fault.Unreachable, mention: "InRelease"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := packages
			if tc.packages != nil {
				index = tc.packages
			}
			rp, root := archiveOf(t, index, tc.release)
			rq := Request{Repositories: []Repository{rp}, Arch: "amd64", Include: []string{"cron"}, Now: signed.Add(time.Hour)}
			if tc.rq != nil {
				tc.rq(&rq)
			}
			if tc.mirror != nil {
				tc.mirror(root)
			}
			_, _, err := Resolve(t.Context(), client(t), rq, nil)
			if fault.KindOf(err) != tc.kind || !strings.Contains(fmt.Sprint(err), tc.mention) {
				t.Errorf("error of kind %v: %v; want %v with %q", fault.KindOf(err), err, tc.kind, tc.mention)
			}
		})
	}
}

// archiveKeys returns the ring of another archive's key.
func archiveKeys(t *testing.T) (*fetch.Keyring, string) {
	rp, root := archiveOf(t, []byte("x"), nil)
	return rp.Keys, root
}

func TestByHashMissing(t *testing.T) {
	t.Parallel()
	packages, err := os.ReadFile(filepath.Join("testdata", "Packages.xz"))
	if err != nil {
		t.Fatal(err)
	}
	rp, root := archiveOf(t, packages, nil)
	if err := os.RemoveAll(filepath.Join(root, "dists/frozen/main/binary-amd64/by-hash")); err != nil {
		t.Fatal(err)
	}
	rq := Request{Repositories: []Repository{rp}, Arch: "amd64", Include: []string{"cron"}, Now: signed}
	if _, _, err := Resolve(t.Context(), client(t), rq, nil); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Resolve(ctx, client(t), rq, nil); fault.Exit(err) != fault.ExitInterrupted {
		t.Errorf("cancelled: %v", err)
	}
}
