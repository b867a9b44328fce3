package install

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ingot/internal/alpm"
	"ingot/internal/alpm/alpmtest"
	"ingot/internal/lock"
	"ingot/internal/tree"
)

// Whatever a package holds, what is read of it can be written, and the database says what the package does.
func FuzzPackage(f *testing.F) {
	for _, p := range append(filesOfAllKinds(), alpmtest.Pack("scripted", "backup = x\n", "x")) {
		if p.Name == "scripted" {
			p.Install, p.Changelog = "post_install() { :; }\n", "all\n"
		}
		data, err := p.Tar()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		body := io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
		r, err := alpm.NewPlainReader(body)
		if err != nil {
			return
		}
		defer r.Close()
		p := &pkg{info: r.Info, settings: r.Settings, script: r.Install}
		if err := p.read(r, body); err != nil {
			return
		}
		for _, m := range p.members {
			if clean, err := tree.CleanPath(m.Path); err != nil || clean != m.Path || m.Path == "." {
				t.Fatalf("path %q", m.Path)
			}
			if !m.sparse && m.offset+m.Size > int64(len(data)) || m.link == "" && m.Mode&unix.S_IFMT == 0 {
				t.Fatalf("member %+v of %d bytes", m, len(data))
			}
		}
		if !slices.IsSorted(p.files) || slices.ContainsFunc(p.files, func(f string) bool { return strings.ContainsAny(f, "\n\x00") }) {
			t.Fatalf("files %q", p.files)
		}
		if checkConflicts([]*pkg{p, p}) == nil && slices.ContainsFunc(p.files, func(f string) bool { return !strings.HasSuffix(f, "/") }) {
			t.Fatal("it is not in conflict with itself")
		}
		p.has("post_install")

		in := &installer{Options: Options{Lock: &lock.Lock{Date: date}}, pkgs: []*pkg{p}}
		var got alpm.Package
		if err := got.ParseDesc(in.desc(p)); err != nil {
			t.Fatalf("desc: %v\n%s", err, in.desc(p))
		}
		want := *p.info
		want.Backup, want.MakeDepends, want.CheckDepends = nil, nil, nil // they are not in a desc
		got.Size = want.Size                                             // it has another name there
		if diff := gocmp.Diff(&want, &got); diff != "" {
			t.Errorf("desc says something else (-want +got):\n%s\n%s", diff, in.desc(p))
		}
	})
}
