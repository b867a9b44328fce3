package archive

import (
	"os"
	"path/filepath"
	"testing"

	"ingot/internal/alpm"
	"ingot/internal/alpm/alpmtest"
	"ingot/internal/fault"
)

// TestDescribes compares real packages with what the real database of their time says of them.
func TestDescribes(t *testing.T) {
	t.Parallel()
	byFile := make(map[string]*alpm.Package)
	for _, db := range snapshot(t, "2017-12-x86_64") {
		for _, p := range db.Packages {
			byFile[p.Filename] = p
		}
	}
	files, err := filepath.Glob(filepath.Join(alpmtest.Data(t, "packages", "2017-12"), "*.pkg.tar.xz"))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, file := range files {
		said := byFile[filepath.Base(file)]
		if said == nil {
			continue
		}
		compared++
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := alpm.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := describes(said, r.Info); err != nil {
			t.Errorf("%s: %v", said, err)
		}
		lie := *said
		lie.Version = "99-1"
		if err := describes(&lie, r.Info); fault.KindOf(err) != fault.Trust {
			t.Errorf("%s, with a false version: %v", said, err)
		}
		lie = *said
		lie.Depends = append([]alpm.Depend{{Name: "backdoor"}}, said.Depends...)
		if err := describes(&lie, r.Info); fault.KindOf(err) != fault.Trust {
			t.Errorf("%s, with a false dependency: %v", said, err)
		}
	}
	if compared < 30 {
		t.Errorf("only %d packages of %d are in the database", compared, len(files))
	}
}
