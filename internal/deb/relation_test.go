package deb

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRelations(t *testing.T) {
	t.Parallel()
	for field, want := range map[string][]Group{
		"":         nil,
		" \n ":     nil,
		"libc6":    {{{Name: "libc6"}}},
		"a, b":     {{{Name: "a"}}, {{Name: "b"}}},
		"a,\n b ,": {{{Name: "a"}}, {{Name: "b"}}},
		"libc6 (>= 2.36), python3:any (<< 3.12)": {
			{{Name: "libc6", Op: ">=", Version: "2.36"}},
			{{Name: "python3", ArchQual: "any", Op: "<<", Version: "3.12"}},
		},
		"a|b(=1:2-3) | c": {{{Name: "a"}, {Name: "b", Op: "=", Version: "1:2-3"}, {Name: "c"}}},
		"a (< 1), b (> 2), c (3)": {
			{{Name: "a", Op: "<=", Version: "1"}},
			{{Name: "b", Op: ">=", Version: "2"}},
			{{Name: "c", Op: "=", Version: "3"}},
		},
	} {
		got, err := ParseRelations(field)
		if err != nil {
			t.Errorf("%q: %v", field, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-want +got)\n%s", field, d)
		}
	}
	for _, field := range []string{
		",", "a,,b", "a |", "| a", "a b", "a (>= 1", "a >= 1", "a (=> 1)", "a (>= )", "a [amd64]", "a <!nocheck>",
		"a (>= 1) [amd64]", "a:", "a:-", "a:X", "a/b", "a (>= 1/2)", "a (", "a )",
		strings.Repeat("a,", maxRelations+1),
	} {
		if got, err := ParseRelations(field); err == nil {
			t.Errorf("%.40q is accepted: %v", field, got)
		}
	}
}

func TestSatisfied(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		op   string
		want string // of 1, 2 and 3 against 2
	}{{"", "yyy"}, {"<<", "ynn"}, {"<=", "yyn"}, {"=", "nyn"}, {">=", "nyy"}, {">>", "nny"}, {"!", "nnn"}} {
		got := ""
		for _, v := range []string{"1", "2", "3"} {
			if (Relation{Op: tc.op, Version: "2"}).Satisfied(v) {
				got += "y"
			} else {
				got += "n"
			}
		}
		if got != tc.want {
			t.Errorf("%q: %s, want %s", tc.op, got, tc.want)
		}
	}
}

func FuzzParseRelations(f *testing.F) {
	f.Add("libc6 (>= 2.36), a:any | b (<< 1~), c,")
	f.Add("a(=1)|b [x] <y>")
	f.Fuzz(func(t *testing.T, field string) {
		first, err := ParseRelations(field)
		if err != nil {
			return
		}
		text := make([]string, len(first))
		for i, g := range first {
			text[i] = g.String()
		}
		second, err := ParseRelations(strings.Join(text, ", "))
		if err != nil {
			t.Fatalf("own text %q is refused: %v", text, err)
		}
		if d := cmp.Diff(first, second); d != "" {
			t.Errorf("written and read again (-first +second)\n%s", d)
		}
	})
}
