package transmutetest

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/alpm"
)

// writeDatabases writes NAME.db and NAME.files of a repository, in the form of repo-add(8): a folder NAME-VERSION for each package,
// with desc, and in the second with the list of its files too. Each is a link to a file whose name says how
// it is compressed. A key, where there is one, signs them.
func (r *repository) writeDatabases(date time.Time) error {
	for _, kind := range []string{"db", "files"} {
		var b bytes.Buffer
		t := tar.NewWriter(&b)
		for _, name := range slices.Sorted(keysOf(r.packages)) {
			p := r.packages[name]
			folder := p.Name + "-" + p.Version
			err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, ModTime: date, Uname: "root", Gname: "root"})
			if err == nil {
				err = tarFile(t, folder+"/desc", desc(p, r.embedded), date)
			}
			if err == nil && kind == "files" {
				err = tarFile(t, folder+"/files", "%FILES%\n"+strings.Join(p.files, "\n")+"\n", date)
			}
			if err != nil {
				return err
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
		with := gzipWriter
		if r.compression == "zst" {
			with = zstdWriter
		}
		data, err := compressed(with, b.Bytes())
		if err != nil {
			return err
		}
		name := filepath.Join(r.dir, r.name+"."+kind)
		if err := r.writeDatabase(name, data); err != nil {
			return err
		}
	}
	return nil
}

func (r *repository) writeDatabase(name string, data []byte) error {
	write := func(suffix string, data []byte) error {
		real := name + ".tar." + r.compression + suffix
		if err := os.WriteFile(real, data, 0o644); err != nil {
			return err
		}
		if err := os.Remove(name + suffix); err != nil && !os.IsNotExist(err) {
			return err
		}
		return os.Symlink(filepath.Base(real), name+suffix)
	}
	if err := write("", data); err != nil || r.key == nil {
		return err
	}
	sig, err := r.key.Sign(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return write(".sig", sig)
}

func tarFile(t *tar.Writer, name, text string, date time.Time) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text)), ModTime: date, Uname: "root", Gname: "root"}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := t.Write([]byte(text))
	return err
}

// desc is what a database says of a package, with its signature where it is to be embedded.
func desc(p *Package, embedded bool) string {
	var b strings.Builder
	field := func(name string, values ...string) {
		values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		if len(values) > 0 {
			fmt.Fprintf(&b, "%%%s%%\n%s\n\n", name, strings.Join(values, "\n"))
		}
	}
	field("FILENAME", filepath.Base(p.File))
	field("NAME", p.Name)
	field("BASE", p.Base)
	field("VERSION", p.Version)
	field("DESC", p.Description)
	field("GROUPS", p.Groups...)
	field("CSIZE", fmt.Sprint(p.FileSize))
	field("ISIZE", fmt.Sprint(p.Size))
	field("MD5SUM", p.MD5)
	field("SHA256SUM", p.SHA256)
	if embedded {
		field("PGPSIG", base64.StdEncoding.EncodeToString(p.Signature))
	}
	field("URL", p.URL)
	field("LICENSE", p.Licenses...)
	field("ARCH", p.Arch)
	field("BUILDDATE", fmt.Sprint(p.BuildDate.Unix()))
	field("PACKAGER", p.Packager)
	for _, list := range []struct {
		name   string
		values []alpm.Depend
	}{
		{"REPLACES", p.Replaces}, {"CONFLICTS", p.Conflicts}, {"PROVIDES", p.Provides}, {"DEPENDS", p.Depends},
		{"OPTDEPENDS", p.OptDepends}, {"MAKEDEPENDS", p.MakeDepends}, {"CHECKDEPENDS", p.CheckDepends},
	} {
		field(list.name, texts(list.values)...)
	}
	return b.String()
}
