package rpm

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"1.0-1", "1.0-1", 0},
		{"0:1.0-1", "1.0-1", 0},
		{"1.0", "1.0-7", 0}, // every release
		{"1:1.0-1", "9.9-9", 1},
		{"1.9-1", "1.10-1", -1},
		{"1.002-1", "1.2-1", 0},
		{"1.0a-1", "1.0-1", 1},
		{"1.0a-1", "1.0.1-1", -1},
		{"1.0~rc1-1", "1.0-1", -1},
		{"1.0^git1-1", "1.0-1", 1},
		{"1.0^git1-1", "1.0.1-1", -1},
		{"1.0^git1~pre-1", "1.0^git1-1", -1},
		{"1_0-1", "1.0-1", 0},
		{"2.12-1.192.el6", "2.12-1.80.el6_3.7", 1},
		{"18446744073709551617-1", "18446744073709551616-1", 1},
	} {
		if got := Compare(tc.a, tc.b); got != tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := Compare(tc.b, tc.a); got != -tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.b, tc.a, got, -tc.want)
		}
	}
}

// TestCompareAgainstRPM asks rpm for its opinion on pairs that are near to each other.
func TestCompareAgainstRPM(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("rpm")
	if err != nil {
		t.Skip("rpm is not installed:", err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	const batches, size = 8, 1000
	for range batches {
		var pairs [size][2]string
		var lua strings.Builder
		lua.WriteString("%{lua: for _, p in ipairs({")
		for i := range pairs {
			a := randomVersion(r)
			b := a
			if r.IntN(4) == 0 {
				b = randomVersion(r)
			}
			pairs[i] = [2]string{a + "-1", mutate(r, b) + "-1"}
			fmt.Fprintf(&lua, "{%q,%q},", pairs[i][0], pairs[i][1])
		}
		lua.WriteString(`}) do print(rpm.vercmp(p[1], p[2]) .. "\n") end}`)
		out, err := exec.Command(program, "--eval", lua.String()).CombinedOutput()
		if err != nil {
			t.Fatalf("rpm --eval: %v\n%.500s", err, out)
		}
		answers := strings.Fields(string(out))
		if len(answers) != size {
			t.Fatalf("rpm answered %d of %d questions: %.300s", len(answers), size, out)
		}
		for i, p := range pairs {
			if got := fmt.Sprint(Compare(p[0], p[1])); got != answers[i] {
				t.Errorf("Compare(%q, %q) = %s, rpm says %s", p[0], p[1], got, answers[i])
			}
		}
	}
}

const versionAlphabet = "0011223456789abzAZ..__~~^^+"

func randomVersion(r *rand.Rand) string {
	b := []byte{versionAlphabet[r.IntN(16)]} // rpm wants a version that is not empty
	for range r.IntN(9) {
		b = append(b, versionAlphabet[r.IntN(len(versionAlphabet))])
	}
	if r.IntN(5) == 0 {
		return fmt.Sprintf("%d:%s", r.IntN(3), b)
	}
	return string(b)
}

func mutate(r *rand.Rand, s string) string {
	b := []byte(s)
	for range r.IntN(3) {
		i := r.IntN(len(b))
		if b[i] != ':' && i > 1 {
			b[i] = versionAlphabet[r.IntN(len(versionAlphabet))]
		}
	}
	return string(b)
}

func FuzzCompare(f *testing.F) {
	f.Add("1.0~rc1-1", "1:1.0^20-2")
	f.Add("", "-")
	f.Fuzz(func(t *testing.T, a, b string) {
		if x, y := Compare(a, b), Compare(b, a); x != -y {
			t.Errorf("Compare(%q, %q) = %d, but %d the other way round", a, b, x, y)
		}
		if c := Compare(a, a); c != 0 {
			t.Errorf("%q differs from itself: %d", a, c)
		}
	})
}
