package archive

import (
	"context"
	"os"
	"testing"

	"ingot/internal/alpm/alpmtest"
)

// BenchmarkChoose reads the databases of 2014 (6,594 packages) and resolves a cloud image's 140.
func BenchmarkChoose(b *testing.B) {
	path := alpmtest.Data(b, "db", "2014-08-x86_64")
	for b.Loop() {
		var dbs []*Database
		for _, name := range snapshots["2014-08-x86_64"] {
			f, err := os.Open(path + "/" + name + ".db")
			if err != nil {
				b.Fatal(err)
			}
			db, err := ReadDatabase(name, f)
			f.Close()
			if err != nil {
				b.Fatal(err)
			}
			dbs = append(dbs, db)
		}
		if _, err := Choose(context.Background(), dbs, Request{Arch: "x86_64",
			Targets: []string{"base", "linux", "cloud-init", "grub"}}); err != nil {
			b.Fatal(err)
		}
	}
}
