package cli

import (
	"bytes"
	"errors"
	"testing"

	"ingot/internal/publish/check"
)

// Where nothing was found since nothing could be looked at, nobody is told that all is well.
func TestReconcileUnseen(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		unseen error
		want   string
	}{
		"seen":   {nil, "Everything is as it should be\n"},
		"unseen": {errors.New("no answer"), ""},
	} {
		var out bytes.Buffer
		a := &app{out: &out, err: &out}
		err := a.reconcile(t.Context(), &inspection{}, [][]check.Finding{nil}, tc.unseen, true, false)
		if !errors.Is(err, tc.unseen) || out.String() != tc.want {
			t.Errorf("%s: says %q, and returns %v", name, out.String(), err)
		}
	}
}
