package sandbox

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// Where the machine refuses user namespaces, even to root, the sandbox rests on capabilities.
func TestWithoutUserNamespace(t *testing.T) {
	root := t.TempDir()
	scaffold, err := openScaffold(root)
	if err != nil {
		t.Fatal(err)
	}
	s := newSandbox(root, scaffold)
	defer s.Close()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	set, err := s.prepare(Config{Root: root, Binds: []Bind{{Source: binary, Target: "probe", ReadOnly: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.boot(t.Context(), set, false); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Run(t.Context(), Command{Args: []string{"/probe"}, Env: []string{"INGOT_SANDBOX_TEST=status"}, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if want := "CapEff:\t00000000a00425fb"; !strings.Contains(out.String(), want) {
		t.Errorf("want %s in\n%s", want, out.String())
	}
}

func TestParseSubordinate(t *testing.T) {
	const file = "# comment\nalice:100000:65536\nbob:165536:65536\n1000:300000:10\nalice:x:5\nalice:1:2:3\nalice:400000:0\n"
	got, err := parseSubordinate(strings.NewReader(file), []string{"1000", "alice"})
	if want := []idRange{{100000, 65536}, {300000, 10}}; err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
