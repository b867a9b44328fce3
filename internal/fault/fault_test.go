package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestKindHintExit(t *testing.T) {
	inner := New(Trust, errors.New("bad signature"), "name the key")
	for _, c := range []struct {
		name string
		err  error
		kind Kind
		hint string
		exit int
	}{
		{"nil", nil, Bug, "", 0},
		{"typed", inner, Trust, "name the key", 5},
		{"wrapped", fmt.Errorf("building: %w", inner), Trust, "name the key", 5},
		{"outermost kind wins", New(Partial, inner, ""), Partial, "name the key", 13},
		{"outermost hint wins", New(Partial, inner, "rerun"), Partial, "rerun", 13},
		{"joined", errors.Join(errors.New("x"), inner), Trust, "name the key", 5},
		{"full disk", fmt.Errorf("writing: %w", syscall.ENOSPC), Space, makeRoom, 9},
		{"full disk, hint", New(Space, fmt.Errorf("writing: %w", syscall.EDQUOT), "a larger one"), Space, "a larger one", 9},
		{"missing file", &fs.PathError{Err: syscall.ENOENT}, Missing, "", 15},
		{"no permission", &fs.PathError{Err: syscall.EACCES}, Host, "", 8},
		{"a folder for a file", &fs.PathError{Err: syscall.EISDIR}, Input, "", 3},
		{"a file for a folder", &fs.PathError{Err: syscall.ENOTDIR}, Input, "", 3},
		{"a read-only filesystem", &fs.PathError{Err: syscall.EROFS}, Host, "", 8},
		{"links in a circle", &fs.PathError{Err: syscall.ELOOP}, Input, "", 3},
		{"too long a name", &fs.PathError{Err: syscall.ENAMETOOLONG}, Input, "", 3},
		{"cancelled", fmt.Errorf("fetching: %w", context.Canceled), Bug, "", ExitInterrupted},
		{"unknown", errors.New("x"), Bug, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := KindOf(c.err); got != c.kind {
				t.Errorf("kind %v, want %v", got, c.kind)
			}
			if got := HintOf(c.err); got != c.hint {
				t.Errorf("hint %q, want %q", got, c.hint)
			}
			if got := Exit(c.err); got != c.exit {
				t.Errorf("exit %d, want %d", got, c.exit)
			}
		})
	}
}

func TestKindsAreComplete(t *testing.T) {
	seen := map[int]Kind{}
	for _, k := range Kinds() {
		if k.String() == "" || k.Help() == "" || k.Exit() < 1 {
			t.Errorf("kind %d lacks its name, help or exit code", k)
		}
		if other, ok := seen[k.Exit()]; ok {
			t.Errorf("%v and %v share exit code %d", k, other, k.Exit())
		}
		seen[k.Exit()] = k
	}
}
