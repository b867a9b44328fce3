package deb

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readAll(t testing.TB, text string, fields ...string) ([]Paragraph, error) {
	t.Helper()
	s := NewScanner(strings.NewReader(text), fields...)
	var all []Paragraph
	for {
		var p Paragraph
		if err := s.Next(&p); err != nil {
			if errors.Is(err, io.EOF) {
				return all, nil
			}
			return all, err
		}
		all = append(all, p)
	}
}

func TestScanner(t *testing.T) {
	t.Parallel()
	const text = "\n\nPackage: a\nDescription: one\n two\n .\n  three\nConffiles:\n /etc/a 00\n\n \t\npackage:b\nX-Empty:\n"
	got, err := readAll(t, text)
	if err != nil {
		t.Fatal(err)
	}
	want := []Paragraph{
		{Fields: []Field{{"Package", "a"}, {"Description", "one\n two\n .\n  three"}, {"Conffiles", "\n /etc/a 00"}}},
		{Fields: []Field{{"package", "b"}, {"X-Empty", ""}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if v, ok := got[1].Lookup("PACKAGE"); v != "b" || !ok {
		t.Errorf("Lookup without regard to case: %q, %v", v, ok)
	}
	got, err = readAll(t, text, "conffiles", "package")
	if err != nil {
		t.Fatal(err)
	}
	want = []Paragraph{
		{Fields: []Field{{"Package", "a"}, {"Conffiles", "\n /etc/a 00"}}},
		{Fields: []Field{{"package", "b"}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wanted fields only (-want +got)\n%s", d)
	}
}

func TestScannerRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"continuation first": {" a\n", "line 1: continues"},
		"no colon":           {"A: b\nnonsense\n", "line 2:"},
		"comment":            {"#A: b\n", "line 1:"},
		"blank in name":      {"A B: c\n", "line 1:"},
		"empty name":         {": c\n", "line 1:"},
		"twice":              {"A: b\na: c\n\n", "stands twice"},
		"long line":          {"A: " + strings.Repeat("x", maxLine+1<<17), "longer than"},
		"many fields":        {strings.Repeat("A: b\n", maxFields+1), "more than"},
		"large paragraph":    {"A:\n" + strings.Repeat(" "+strings.Repeat("x", 1<<16)+"\n", 300), "larger than"},
	} {
		if _, err := readAll(t, tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.want)
		}
	}
	for _, text := range []string{"", "\n", "A: b\n\nC: d\n", "A: b\n\nno\n"} {
		if _, err := ReadParagraph(strings.NewReader(text)); err == nil {
			t.Errorf("ReadParagraph accepts %q", text)
		}
	}
}

// TestStatusRoundTrip reads dpkg's own database, where there is one, and expects to write it byte for byte.
func TestStatusRoundTrip(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Skip("no dpkg database to read:", err)
	}
	all, err := readAll(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for i := range all {
		out = append(all[i].Append(out), '\n')
	}
	if string(out) != string(text) {
		t.Errorf("dpkg's status file is not written as it was read: %s", cmp.Diff(string(text), string(out)))
	}
}

func FuzzScanner(f *testing.F) {
	f.Add("Package: a\nDepends: b,\n c\n\nPackage: d\n")
	f.Add("A:\n .\n\n\r\nB : c")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := readAll(t, text)
		if err != nil {
			return
		}
		var out []byte
		for i := range first {
			out = append(first[i].Append(out), '\n')
		}
		second, err := readAll(t, string(out))
		if err != nil {
			t.Fatalf("own text %q is refused: %v", out, err)
		}
		if d := cmp.Diff(first, second); d != "" {
			t.Errorf("written and read again (-first +second)\n%s", d)
		}
	})
}

// BenchmarkScanner reads an uncompressed Packages index named by INGOT_BENCH_PACKAGES.
func BenchmarkScanner(b *testing.B) {
	path := os.Getenv("INGOT_BENCH_PACKAGES")
	if path == "" {
		b.Skip("INGOT_BENCH_PACKAGES names no Packages file")
	}
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		s := NewScanner(f, "Package", "Version", "Architecture", "Depends", "Pre-Depends", "Recommends", "Conflicts",
			"Breaks", "Provides", "Essential", "Priority", "Filename", "Size", "SHA256", "Source")
		var p Paragraph
		n := 0
		for ; s.Next(&p) == nil; n++ {
		}
		f.Close()
		b.ReportMetric(float64(n), "paragraphs")
	}
}
