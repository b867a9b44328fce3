package shell

import (
	"os/exec"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "a", "a b", "it's", "''", "$HOME `id` \\ \" ! * ~", "two\nlines", "ü"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q is read back as %q (%v)", word, out, err)
		}
	}
	if got := Quote("it's"); !strings.HasPrefix(got, "'it") {
		t.Errorf("quoted it is %s", got)
	}
}
