package database

import (
	"context"
	"testing"

	"ingot/internal/rpm/rpmtest"
)

// BenchmarkFiles writes a database of 13 packages.
func BenchmarkFiles(b *testing.B) {
	headers := installed(b, rpmtest.Packages(b))
	for _, f := range []Format{BerkeleyDB, SQLite} {
		b.Run(string(f), func(b *testing.B) {
			for b.Loop() {
				if _, err := Files(context.Background(), f, headers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
