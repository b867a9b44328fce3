package deb

import (
	"errors"
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
		{"1.0", "1.0", 0},
		{"1.0", "1.0-0", 0},
		{"0:1.0", "1.0", 0},
		{"1.0~rc1", "1.0", -1},
		{"1.0~~", "1.0~", -1},
		{"1.0", "1.0a", -1},
		{"1.0a", "1.0+", -1},
		{"1.9", "1.10", -1},
		{"1.0-1", "1.0-1+b1", -1},
		{"1:0", "9.9", 1},
		{"2.36-9+deb12u13", "2.36-9+deb12u9", 1},
		{"1.002", "1.2", 0},
		{"1-2-3", "1-2-4", -1},
		{"18446744073709551617", "18446744073709551616", 1},
	} {
		if got := Compare(tc.a, tc.b); got != tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := Compare(tc.b, tc.a); got != -tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.b, tc.a, got, -tc.want)
		}
	}
}

// TestCompareAgainstDpkg asks dpkg for its opinion on pairs that are near to each other.
func TestCompareAgainstDpkg(t *testing.T) {
	t.Parallel()
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("dpkg is not installed:", err)
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
				op := map[int]string{-1: "lt", 0: "eq", 1: "gt"}[Compare(p[0], p[1])]
				err := exec.Command(dpkg, "--compare-versions", p[0], op, p[1]).Run()
				var exit *exec.ExitError
				switch {
				case errors.As(err, &exit) && exit.ExitCode() == 1:
					t.Errorf("dpkg denies that %q %s %q", p[0], op, p[1])
				case err != nil:
					t.Errorf("dpkg --compare-versions %q %s %q: %v", p[0], op, p[1], err)
				}
				if err := CheckVersion(p[0]); err != nil {
					t.Errorf("dpkg accepts what CheckVersion refuses: %v", err)
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
		if CheckVersion(b) == nil {
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
	part := func(alphabet string) {
		for range r.IntN(8) {
			b.WriteByte(alphabet[r.IntN(len(alphabet))])
		}
	}
	part("0019.+~ab")
	if r.IntN(2) == 0 {
		b.WriteByte('-')
		b.WriteByte("0123"[r.IntN(4)])
		part("0019.+~ab")
	}
	return b.String()
}

func mutate(r *rand.Rand, v string) string {
	const alphabet = "019.+~azAZ-"
	i := r.IntN(len(v) + 1)
	if r.IntN(2) == 0 && i < len(v) {
		return v[:i] + v[i+1:]
	}
	return v[:i] + string(alphabet[r.IntN(len(alphabet))]) + v[i:]
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"1", "1:2.3-4~5+b6", "1.0-2-3", "0.0~git:1-1", "a"} {
		if err := CheckVersion(v); (err == nil) == (v == "0.0~git:1-1") {
			t.Errorf("CheckVersion(%q) = %v", v, err)
		}
	}
	for _, v := range []string{"", ":1", "a:1", "1:", "-1", "1-", "1/2", "1 2", "1\n", "1_2", "é", strings.Repeat("1", 2000)} {
		if CheckVersion(v) == nil {
			t.Errorf("CheckVersion(%.20q) accepts it", v)
		}
	}
	for _, n := range []string{"a", "libc6", "g++-12", "libstdc++6", "Foo_bar", "0ad"} {
		if err := CheckName(n); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []string{"", ".a", "-a", "a/b", "a b", "a\n", "a:b", "..", "é", strings.Repeat("a", 300)} {
		if CheckName(n) == nil {
			t.Errorf("CheckName(%.20q) accepts it", n)
		}
	}
}

func FuzzCompare(f *testing.F) {
	f.Add("1.0", "1:1.0-1", "2~")
	f.Add("~", "", "-")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, bc, ac := Compare(a, b), Compare(b, c), Compare(a, c)
		if ab != -Compare(b, a) {
			t.Errorf("%q and %q: not antisymmetric", a, b)
		}
		if ab <= 0 && bc <= 0 && ac > 0 || ab == 0 && bc != ac {
			t.Errorf("%q, %q, %q: not transitive", a, b, c)
		}
		_, _ = CheckVersion(a), CheckName(b)
	})
}
