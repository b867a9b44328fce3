package factorytest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/deb/debtest"
)

// Image is the recipe of an image called img, in a folder of its own, and the mirror that it is made from.
type Image struct {
	testing.TB
	Dir      string // of the recipe: img.yaml, its key, and a file that it does not name
	Recipe   string // path
	packages []debtest.Package
	key      debtest.Key
	mirror   string // folder
}

// NewImage makes the recipe and the mirror below a folder. more is the rest of the recipe, as YAML.
func NewImage(t testing.TB, dir, more string) *Image {
	t.Helper()
	i := &Image{TB: t, Dir: filepath.Join(dir, "home"), packages: Packages(t), key: debtest.NewKey(t), mirror: filepath.Join(dir, "mirror")}
	i.Recipe = filepath.Join(i.Dir, "img.yaml")
	server := httptest.NewServer(http.FileServer(http.Dir(i.mirror)))
	t.Cleanup(server.Close)
	i.archive()
	text := fmt.Sprintf("name: img\ndistro: debian\nrelease: bookworm\nmirrors: [%q]\nkeys: [{fingerprint: %s, file: keys/key.asc}]\ndisk: {firmware: uefi}\n%s",
		server.URL, i.key.Fingerprint(), more)
	if err := errors.Join(os.MkdirAll(filepath.Join(i.Dir, "keys"), 0o755), os.WriteFile(i.Recipe, []byte(text), 0o644),
		os.WriteFile(filepath.Join(i.Dir, "secret"), []byte("not for others"), 0o600), os.WriteFile(filepath.Join(i.Dir, "keys/key.asc"), i.key.Public(t), 0o644)); err != nil {
		t.Fatal(err)
	}
	return i
}

// archive writes the mirror anew.
func (i *Image) archive() {
	now := time.Now().Truncate(time.Second)
	for n, suite := range []string{"bookworm", "bookworm-updates", "bookworm-security"} {
		s := debtest.Suite{Name: suite, Date: now.Add(-time.Hour), ValidUntil: now.AddDate(0, 0, 7)}
		if n == 0 {
			s.Packages = i.packages
		}
		s.Write(i, i.mirror, i.key)
	}
}

// Upgrade has the mirror offer a newer version of a package.
func (i *Image) Upgrade() {
	last := &i.packages[len(i.packages)-1]
	last.Control = strings.Replace(last.Control, "Version: 1", "Version: 11", 1)
	i.archive()
}
