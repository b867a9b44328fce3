package install

import (
	"bytes"
	"testing"

	"ingot/internal/alpm/alpmtest"
)

// A package may say of itself that it holds more than any disk.
func TestContentLimit(t *testing.T) {
	t.Parallel()
	data, err := alpmtest.Pack("large", "size = 1125899906842624\n", "file").Zstd()
	if err != nil {
		t.Fatal(err)
	}
	if limit, err := contentLimit(bytes.NewReader(data)); err != nil || limit > 64<<30 {
		t.Errorf("%d bytes may come out of it (%v)", limit, err)
	}
}
