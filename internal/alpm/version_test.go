package alpm

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"1.0-1", "1.0-1", 0},
		{"1.0", "1.0-3", 0},
		{"1.0-1", "1.0-2", -1},
		{"0:1.0-1", "1.0-1", 0},
		{":1.0", "1.0", 0},
		{"1:0-1", "9.9-9", 1},
		{"1.0a", "1.0b", -1},
		{"1.0beta", "1.0", -1},
		{"1.0rc1", "1.0.1", -1},
		{"1.9", "1.10", -1},
		{"1.002", "1.2", 0},
		{"1.", "1", 1},
		{"1..", "1.", 0},
		{"1.a", "1.1", -1},
		{"1..1", "1.1", 1},
		{"1_1", "1.1", 0},
		{"18446744073709551617", "18446744073709551616", 1},
		{"20171213-1", "20171213-1.1", -1},
	} {
		if got := Compare(tc.a, tc.b); got != tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := Compare(tc.b, tc.a); got != -tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.b, tc.a, got, -tc.want)
		}
	}
}

// TestCompareAgainstVercmp asks pacman's own program for its opinion on pairs that are near to each other.
func TestCompareAgainstVercmp(t *testing.T) {
	t.Parallel()
	vercmp, err := exec.LookPath("vercmp")
	if err != nil {
		t.Skip("pacman's vercmp is not installed (Debian: pacman-package-manager):", err)
	}
	pairs := 4000
	if testing.Short() {
		pairs = 400
	}
	r := rand.New(rand.NewPCG(1, 2))
	work := make(chan [2]string)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for p := range work {
				out, err := exec.Command(vercmp, p[0], p[1]).Output()
				if got := fmt.Sprintln(Compare(p[0], p[1])); err != nil || got != string(out) {
					t.Errorf("%q, %q: %s, but vercmp says %s (%v)", p[0], p[1], got, out, err)
				}
			}
		})
	}
	for range pairs {
		a := randomVersion(r)
		b := a
		if r.IntN(4) == 0 {
			b = randomVersion(r)
		}
		for range 1 + r.IntN(3) {
			b = mutate(r, b)
		}
		if a[0] != '-' && b != "" && b[0] != '-' { // vercmp takes a leading hyphen for an option
			work <- [2]string{a, b}
		}
	}
	close(work)
	wg.Wait()
}

func randomVersion(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(4) == 0 {
		fmt.Fprintf(&b, "%d:", r.IntN(3))
	}
	fmt.Fprintf(&b, "%d", r.IntN(12))
	for range r.IntN(8) {
		b.WriteByte("0019.._+~ab"[r.IntN(11)])
	}
	if r.IntN(2) == 0 {
		fmt.Fprintf(&b, "-%d", r.IntN(4))
	}
	b.WriteString([]string{"", "", ".", "..", "_", "-"}[r.IntN(6)])
	return b.String()
}

func mutate(r *rand.Rand, v string) string {
	const alphabet = "019.+~:azAZ-_"
	i := r.IntN(len(v) + 1)
	if r.IntN(2) == 0 && i < len(v) {
		return v[:i] + v[i+1:]
	}
	return v[:i] + string(alphabet[r.IntN(len(alphabet))]) + v[i:]
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"1-1", "1:2.3_b+r1.gabc-4.1", "0.1~rc-1"} {
		if err := CheckVersion(v); err != nil {
			t.Error(err)
		}
	}
	for _, v := range []string{"", "1", "-1", "1-", "1-2-3", "a:1-1", "1/2-1", "1 2-1", "1-1\n", "é-1", strings.Repeat("1", 200) + "-1"} {
		if CheckVersion(v) == nil {
			t.Errorf("CheckVersion(%.20q) accepts it", v)
		}
	}
	for _, n := range []string{"a", "gcc-libs", "libstdc++5", "gtk3", "lib32-x", "_x", "@scope", "R", "foo.bar"} {
		if err := CheckName(n); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []string{"", ".a", "-a", "a/b", "a b", "a\n", "a:b", "..", "é", "a=1", strings.Repeat("a", 300)} {
		if CheckName(n) == nil {
			t.Errorf("CheckName(%.20q) accepts it", n)
		}
	}
}

func FuzzCompare(f *testing.F) {
	f.Add("1.0", "1:1.0-1")
	f.Add("~", "-")
	f.Fuzz(func(t *testing.T, a, b string) {
		if Compare(a, b) != -Compare(b, a) {
			t.Errorf("%q and %q: not antisymmetric", a, b)
		}
		_, _ = CheckVersion(a), CheckName(b)
	})
}
