package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"ingot/internal/fault"
)

// What goes wrong ends an old tool with the code that it has there, and says so.
func TestOldCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want int
		text string
	}{
		{"ec2-unbundle", nil, 0, ""},
		{"ec2-unbundle", parameter("no such option"), 1, "no such option\nTry 'ec2-unbundle --help'\n"},
		{"ec2-unbundle", fmt.Errorf("reading: %w", os.ErrNotExist), 2, "ERROR: reading"},
		{"ec2-unbundle", fault.New(fault.Trust, errors.New("tampered"), "look"), 254, "ERROR: tampered\nhint: look\n"},
		{"ec2-unbundle", fmt.Errorf("extracting: %w", context.Canceled), 255, "ec2-unbundle interrupted"},
		{"ec2-upload-bundle", fault.Newf(fault.Denied, "no"), 3, "ERROR: no"},
		{"ec2-upload-bundle", &oldError{oldPrompt, errors.New("timed out")}, 5, "ERROR: timed out"},
		{"ec2-upload-bundle", &oldError{0, nil}, 0, ""},
	} {
		var said bytes.Buffer
		r := &oldRun{app: &app{err: &said}, name: c.name, tool: oldTools[c.name]}
		if got := r.code(c.err); got != c.want || !strings.Contains(said.String(), c.text) || c.text == "" && said.Len() > 0 {
			t.Errorf("%s, %v: code %d, %q", c.name, c.err, got, said.String())
		}
	}
}
