package bdb

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ingot/internal/rpm/rpmtest"
)

// kinds are the two access methods.
var kinds = map[string]func([]Pair, ID) ([]byte, error){"hash": Hash, "btree": Btree}

// samples are sets of records, by name.
func samples() map[string][]Pair {
	many := func(n int, key func(int) string, size int) (all []Pair) {
		for i := range n {
			all = append(all, Pair{[]byte(key(i)), bytes.Repeat([]byte{byte(i), 0xff}, size/2)})
		}
		return all
	}
	number := func(i int) string { return string(binary.LittleEndian.AppendUint32(nil, uint32(i))) } //nolint:gosec // small
	path := func(i int) string { return fmt.Sprintf("/usr/share/some/where/%d/", i) }
	return map[string][]Pair{
		"empty":       nil,
		"one":         {{[]byte("key"), []byte("value")}},
		"empty value": {{[]byte("\x00"), nil}},
		"borders": {{[]byte("a"), make([]byte, largeHash)}, {[]byte("b"), make([]byte, largeHash+1)},
			{[]byte("c"), make([]byte, largeBtree)}, {[]byte("d"), make([]byte, largeBtree+1)}, {[]byte("e"), make([]byte, room)}, {[]byte("f"), make([]byte, room+1)}},
		"large keys":  many(40, func(i int) string { return fmt.Sprintf("%03d", i) + strings.Repeat("k", 4000) }, 10),
		"many":        many(5000, path, 16),
		"more levels": many(3000, func(i int) string { return fmt.Sprintf("%04d", i) + strings.Repeat("x", 900) }, 900),
		"headers":     many(300, number, 30000),
		"one bucket":  many(900, func(i int) string { return strings.Repeat("\x00", i+1) }, 8),
	}
}

// TestVerified has Berkeley DB's own programs check files and print what is in them.
func TestVerified(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"db_verify", "db_dump"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: %v", tool, err)
		}
	}
	for kind, write := range kinds {
		for name, pairs := range samples() {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				data, err := write(pairs, ID{1, 2, 3})
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(t.TempDir(), "db")
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command("db_verify", path).CombinedOutput(); err != nil {
					t.Fatalf("db_verify: %v\n%s", err, out)
				}
				out, err := exec.Command("db_dump", path).Output()
				if err != nil {
					t.Fatal(err)
				}
				head, body, _ := strings.Cut(string(out), "HEADER=END\n")
				if !strings.Contains(head, "type="+kind) {
					t.Errorf("header %q", head)
				}
				var got []Pair
				lines := strings.Split(strings.TrimSuffix(body, "DATA=END\n"), "\n")
				for i := 0; i+1 < len(lines); i += 2 {
					got = append(got, Pair{unhex(t, lines[i]), unhex(t, lines[i+1])})
				}
				compare(t, pairs, got)
			})
		}
	}
}

func unhex(t testing.TB, line string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compare(t testing.TB, want, got []Pair) {
	t.Helper()
	table := func(pairs []Pair) map[string]string {
		m := make(map[string]string)
		for _, p := range pairs {
			m[string(p.Key)] = string(p.Value)
		}
		return m
	}
	if d := cmp.Diff(table(want), table(got)); d != "" || len(want) != len(got) {
		t.Errorf("%d records, %d read (-written +read)\n%.2000s", len(want), len(got), d)
	}
}

// TestRefused names what no file can hold.
func TestRefused(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("p"), 2000)
	for name, tc := range map[string]struct {
		kind  string
		pairs []Pair
	}{
		"empty key": {"hash", []Pair{{nil, []byte("x")}}},
		"twice":     {"btree", []Pair{{[]byte("a"), nil}, {[]byte("b"), nil}, {[]byte("a"), nil}}},
	} {
		if _, err := kinds[tc.kind](tc.pairs, ID{}); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	var alike []Pair
	for i := range 2000 {
		alike = append(alike, Pair{fmt.Appendf(slices.Clone(long), "%04d", i), nil})
	}
	if _, err := Btree(alike, ID{}); err == nil || !strings.Contains(err.Error(), "in common") {
		t.Errorf("keys too much alike: %v", err)
	}
	if _, err := Hash(alike, ID{}); err != nil {
		t.Errorf("in a hash: %v", err)
	}
}

// TestRoundTrip reads arbitrary records back with the reader of these tests.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for kind, write := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				table := rapid.MapOfN(rapid.StringN(1, 40, 60), rapid.SliceOfN(rapid.Byte(), 0, 6000), 0, 300).Draw(t, "records")
				var pairs []Pair
				for k, v := range table {
					pairs = append(pairs, Pair{[]byte(k), v})
				}
				data, err := write(pairs, ID{})
				if err != nil {
					t.Fatal(err)
				}
				got, err := rpmtest.ReadBDB(data)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != len(table) {
					t.Fatalf("%d of %d records", len(got), len(table))
				}
				for _, p := range got {
					if v, ok := table[string(p.Key)]; !ok || !bytes.Equal(v, p.Value) {
						t.Fatalf("%q is %.100x", p.Key, p.Value)
					}
				}
			})
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, write := range kinds {
		for name, pairs := range samples() {
			if len(pairs) > 50 {
				continue
			}
			data, err := write(pairs, ID{})
			if err != nil {
				f.Fatal(name, err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = rpmtest.ReadBDB(data) })
}
