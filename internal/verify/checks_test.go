package verify

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

// TestChecksAreShell has a shell parse every check: a typo would show only in a guest.
func TestChecksAreShell(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, c := range checks {
		if names[c.name] {
			t.Errorf("check %s is there twice", c.name)
		}
		names[c.name] = true
		cmd := exec.Command("/bin/sh", "-n")
		cmd.Stdin = strings.NewReader("if ! { " + c.when + "\n:; }; then exit 1; fi\n{ " + c.script + "\n} </dev/null\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("check %s: %v: %s", c.name, err, out)
		}
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", detailLimit) + "the end"
	if got := clip(long); len(got) > detailLimit+8 || !strings.HasSuffix(got, "the end") || !strings.HasPrefix(got, "…é") {
		t.Errorf("got %d bytes: %.10q", len(got), got)
	}
	if got := clip("  short\n"); got != "short" {
		t.Errorf("got %q", got)
	}
}

func TestRunCheck(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	test := &test{watch: newWatcher(new(strings.Builder), nil, nil), verdict: &Verdict{}, key: s.key}
	g := s.login(t)
	ctx := context.Background()
	facts := "WANT='it'\\''s'\n"
	for name, tc := range map[string]struct {
		check check
		want  Check
	}{
		"passes":         {check{script: `printf '%s' "$WANT"; [ "$WANT" = "it's" ]`}, Check{Passed: true, Detail: "it's"}},
		"fails":          {check{script: `echo out; echo err >&2; exit 3`}, Check{Detail: "out\nerr"}},
		"fails silently": {check{script: `exit 3`}, Check{Detail: "exit status 3"}},
		"skipped":        {check{when: `false`, script: `exit 3`}, Check{Skipped: true, Detail: "does not apply to this guest"}},
		"not skipped":    {check{when: `true`, script: `echo yes`}, Check{Passed: true, Detail: "yes"}},
		"77 is no skip":  {check{script: `exit 77`}, Check{Detail: "exit status 77"}},
		"reads nothing":  {check{script: "cat\necho done"}, Check{Passed: true, Detail: "done"}},
		"log":            {check{judged: true, script: `echo '[ 1.0] Oops: 7'; echo fine`}, Check{Passed: true, Detail: "2 lines"}},
	} {
		got := test.runCheck(ctx, g, tc.check, facts)
		got.Seconds = 0
		if name == "fails" { // which of two streams arrives first is chance
			if got.Passed || len(got.Detail) != len(tc.want.Detail) {
				t.Errorf("%s: %+v", name, got)
			}
		} else if got != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
	if len(test.watch.findings) != 1 || test.watch.findings[0].Source != Anywhere {
		t.Errorf("the log was judged: %+v", test.watch.findings)
	}

	test.watch.findings = nil
	test.Allow = []string{"sudo"}
	test.add(Check{Name: "sudo", Detail: "no"})
	if c := test.verdict.Checks[0]; !c.Skipped || c.Passed || test.failing() != "" {
		t.Errorf("a check that may fail: %+v, %q", c, test.failing())
	}
	test.add(Check{Name: "hostname", Detail: "no"})
	if test.failing() != "check hostname failed: no" {
		t.Errorf("a failed check: %q", test.failing())
	}

	test.watch.hostKeys = []string{"SHA256:" + strings.Repeat("x", 43)}
	if c := test.announcedKey(g); c.Passed || c.Skipped {
		t.Errorf("a foreign host key passed: %+v", c)
	}
	test.watch.hostKeys = append(test.watch.hostKeys, g.hostKey)
	if c := test.announcedKey(g); !c.Passed {
		t.Errorf("the announced host key failed: %+v", c)
	}
}
