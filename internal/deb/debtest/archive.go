package debtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Key signs archives. It was made a day ago.
type Key struct{ entity *openpgp.Entity }

// NewKey makes a throwaway key.
func NewKey(t testing.TB) Key {
	t.Helper()
	e, err := openpgp.NewEntity("test", "", "test@example.org", dated(time.Now().AddDate(0, 0, -1)))
	if err != nil {
		t.Fatal(err)
	}
	return Key{e}
}

func dated(at time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return at }, Algorithm: packet.PubKeyAlgoEdDSA}
}

// Fingerprint is the key's, in hexadecimal.
func (k Key) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// Public returns the armored public key.
func (k Key) Public(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		err = k.entity.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// clearsign signs a text within itself, as InRelease files are.
func (k Key) clearsign(t testing.TB, text string, at time.Time) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, k.entity.PrivateKey, dated(at))
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Suite describes a suite of an archive for amd64, with the component main and indexes by hash.
type Suite struct {
	Name       string
	Date       time.Time
	ValidUntil time.Time // zero for no limit
	Packages   []Package
}

// Write writes a suite and the files of its packages below the root of an archive, as
// https://wiki.debian.org/DebianRepository/Format has them.
func (s Suite) Write(t testing.TB, root string, key Key) {
	t.Helper()
	var index []byte
	for _, p := range s.Packages {
		deb := p.Deb(t)
		path := "pool/" + p.Name() + "_" + p.field("Version") + "_all.deb"
		writeFile(t, filepath.Join(root, path), deb)
		index = fmt.Appendf(index, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", p.Control, path, len(deb), sha256.Sum256(deb))
	}
	folder := filepath.Join(root, "dists", s.Name)
	const binary = "main/binary-amd64"
	sum := fmt.Sprintf("%x", sha256.Sum256(index))
	writeFile(t, filepath.Join(folder, binary, "Packages"), index)
	writeFile(t, filepath.Join(folder, binary, "by-hash/SHA256", sum), index)

	const layout = "Mon, 02 Jan 2006 15:04:05 UTC"
	release := fmt.Sprintf("Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\n", s.Name, s.Name, s.Date.UTC().Format(layout))
	if !s.ValidUntil.IsZero() {
		release += "Valid-Until: " + s.ValidUntil.UTC().Format(layout) + "\n"
	}
	release += fmt.Sprintf("Acquire-By-Hash: yes\nArchitectures: amd64\nComponents: main\nSHA256:\n %s %d %s/Packages\n", sum, len(index), binary)
	writeFile(t, filepath.Join(folder, "InRelease"), key.clearsign(t, release, s.Date))
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
