package alpm

import (
	"strings"
	"testing"
)

func TestParseDepend(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Depend{
		"glibc":                         {Name: "glibc"},
		"readline>=7.0":                 {Name: "readline", Op: ">=", Version: "7.0"},
		"a<1:2-3":                       {Name: "a", Op: "<", Version: "1:2-3"},
		"a>1":                           {Name: "a", Op: ">", Version: "1"},
		"a<=1":                          {Name: "a", Op: "<=", Version: "1"},
		"libfoo.so=1-64":                {Name: "libfoo.so", Op: "=", Version: "1-64"},
		"a=1: for: this":                {Name: "a", Op: "=", Version: "1", Description: "for: this"},
		"bash-completion: for tab > a":  {Name: "bash-completion", Description: "for tab > a"},
		"python2 or python, for things": {Name: "python2 or python, for things"},
	} {
		if got, err := ParseDepend(text); err != nil || got != want || got.String() != text {
			t.Errorf("ParseDepend(%q) = %#v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ">=1", ": x", "a\nb", strings.Repeat("a", 5000)} {
		if _, err := ParseDepend(text); err == nil {
			t.Errorf("ParseDepend(%.20q) accepts it", text)
		}
	}
}

func FuzzParseDepend(f *testing.F) {
	f.Add("readline>=7.0: x")
	f.Add("libfoo.so=1-64")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDepend(text)
		if err != nil {
			return
		}
		if again, err := ParseDepend(d.String()); err != nil || again != d {
			t.Errorf("%q: %#v, read again %#v, %v", text, d, again, err)
		}
	})
}
