package price

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

// The figures are those of peers.md: a GiB of blocks costs $0.0123 to put, and 0.05 a month to keep.
func TestCost(t *testing.T) {
	t.Parallel()
	table, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	if c := table.Upload("us-east-1", 2048, 512<<10); !near(c.Once, 0.012288) || !near(c.Monthly, 0.05) || c.Assumed {
		t.Errorf("a GiB in us-east-1: %+v", c)
	}
	if c := table.Upload("us-west-1", 2048, 512<<10); !near(c.Monthly, 0.055) || c.Assumed {
		t.Errorf("a GiB in us-west-1: %+v", c)
	}
	if c := table.Upload("mars-1", 2048, 512<<10); !near(c.Monthly, 0.05) || !c.Assumed {
		t.Errorf("a GiB where no price is known: %+v", c)
	}
	if c := table.Upload("mars-1", 0, 512<<10); c != (Cost{}) {
		t.Errorf("nothing: %+v", c)
	}
	if c := table.Hour(Volume, "us-east-1", 730<<30); !near(c.Once, 0.08) || c.Monthly != 0 || c.Assumed {
		t.Errorf("an hour of 730 GiB: %+v", c)
	}
	if c := table.Copy("us-east-1", "us-west-2", 2<<30); !near(c.Once, 0.04) || !near(c.Monthly, 0.1) || c.Assumed {
		t.Errorf("a copy of 2 GiB: %+v", c)
	}
}

func TestRefusesTables(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"date: 2026-01-01\nprices: []\n":                           "snapshot has no price",
		"date: 2026-01-01\nprices: [{item: gold, usd: 1}]\n":       `no item "gold"`,
		"date: 2026-01-01\nprices: [{item: put, usd: -1}]\n":       "is no price",
		"date: 2026-01-01\nprices: [{item: put, usd: .nan}]\n":     "is no price",
		"date: 2026-01-01\nprices: [{item: put, euros: 1}]\n":      "euros",
		strings.Replace(string(own), "date: 2026-11-30", "", 1):    "no date",
		string(own) + "  - {item: put, usd: 1, source: another}\n": "two prices",
	} {
		path := filepath.Join(t.TempDir(), "prices.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(own)
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := parse(text)
		if err != nil {
			return
		}
		if c := table.Upload("us-east-1", 1, 512<<10); c.Once < 0 || c.Monthly < 0 {
			t.Errorf("%+v", c)
		}
	})
}
