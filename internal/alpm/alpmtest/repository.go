package alpmtest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// listFields are the fields of a database by their keys in a .PKGINFO.
var listFields = []struct{ key, field string }{
	{"group", "GROUPS"}, {"replaces", "REPLACES"}, {"depend", "DEPENDS"}, {"optdepend", "OPTDEPENDS"}, {"conflict", "CONFLICTS"}, {"provides", "PROVIDES"},
}

// WriteRepository writes packages and a database NAME.db of them into a directory, as repo-add(8) does. With a key the
// packages are signed; embed says that their signatures are in the database, too.
func WriteRepository(dir, name string, packages []Package, key *Key, embed bool) error {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, p := range packages {
		file, err := p.WriteFile(dir, key)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		desc := fmt.Sprintf("%%FILENAME%%\n%s\n\n%%NAME%%\n%s\n\n%%BASE%%\n%s\n\n%%VERSION%%\n%s\n\n%%DESC%%\ntest\n\n%%CSIZE%%\n%d\n\n"+
			"%%ISIZE%%\n1\n\n%%SHA256SUM%%\n%x\n\n", p.FileName(), p.Name, p.Name, p.Version, len(data), sha256.Sum256(data))
		if key != nil && embed {
			sig, err := os.ReadFile(file + ".sig")
			if err != nil {
				return err
			}
			desc += "%PGPSIG%\n" + base64.StdEncoding.EncodeToString(sig) + "\n\n"
		}
		desc += fmt.Sprintf("%%ARCH%%\n%s\n\n%%BUILDDATE%%\n%d\n\n%%PACKAGER%%\nnobody\n\n", p.Arch, Time.Unix())
		for _, f := range listFields {
			if values := p.values(f.key); len(values) > 0 {
				desc += "%" + f.field + "%\n" + strings.Join(values, "\n") + "\n\n"
			}
		}
		folder := p.Name + "-" + p.Version + "/"
		for _, h := range []tar.Header{{Typeflag: tar.TypeDir, Name: folder, Mode: 0o755}, {Typeflag: tar.TypeReg, Name: folder + "desc", Mode: 0o644, Size: int64(len(desc))}} {
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
		}
		if _, err := w.Write([]byte(desc)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".db"), b.Bytes(), 0o644)
}

// values are those of a key in the further lines of the package's .PKGINFO.
func (p Package) values(key string) (all []string) {
	for line := range strings.Lines(p.Info) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), " = "); k == key {
			all = append(all, v)
		}
	}
	return all
}
