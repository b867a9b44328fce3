// Package fault gives errors a kind, so that a program can react to them and the command line can turn
// them into a documented exit code.
//
// An error says what was attempted, on what, why it failed, and what to do. The first three are its text,
// the last is its hint:
//
//	return fault.New(fault.Trust, fmt.Errorf("verifying %s: signed by no key the recipe names", url),
//		"add the key's fingerprint under keys:, or point mirrors: at another mirror")
package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Kind classifies what went wrong by what the caller can do about it.
type Kind uint8

const (
	Bug           Kind = iota // none of the others: a defect in ingot until proven otherwise
	Usage                     // the command line is wrong
	Input                     // a recipe, lock, image or other input is malformed or contradicts itself
	Unreachable               // a mirror or endpoint did not answer as it should; trying again may help
	Trust                     // a signature, key or checksum is not what it must be
	Unsatisfiable             // the packages asked for cannot be installed together
	Script                    // a package's script, a hook or a recipe's script failed
	Host                      // this machine lacks something: a program, a permission, a kernel feature
	Space                     // a disk, an image or a quota of bytes is full
	Verdict                   // the image was built, but failed its audit or its boot test
	Denied                    // credentials are missing or lack a permission
	Quota                     // a limit of the cloud account was reached
	Partial                   // some regions are done, others are not; a rerun finishes the rest
	Exists                    // the thing to make is already there, or is in use
	Missing                   // the thing asked for does not exist
)

var kinds = [...]struct {
	name string
	exit int
	help string
}{
	Bug:           {"bug", 1, "an unexpected error"},
	Usage:         {"usage", 2, "the command line is wrong"},
	Input:         {"input", 3, "a recipe, lock, image or other input is malformed"},
	Unreachable:   {"unreachable", 4, "a mirror or endpoint did not answer as it should; trying again may help"},
	Trust:         {"trust", 5, "a signature, key or checksum is not what it must be"},
	Unsatisfiable: {"unsatisfiable", 6, "the packages asked for cannot be installed together"},
	Script:        {"script", 7, "a package's script, a hook or a recipe's script failed"},
	Host:          {"host", 8, "this machine lacks a program, a permission or a kernel feature"},
	Space:         {"space", 9, "a disk or an image is full"},
	Verdict:       {"verdict", 10, "the image failed its audit or its boot test"},
	Denied:        {"denied", 11, "credentials are missing or lack a permission"},
	Quota:         {"quota", 12, "a limit of the cloud account was reached"},
	Partial:       {"partial", 13, "some regions are done, others are not; a rerun finishes the rest"},
	Exists:        {"exists", 14, "the thing to make is already there, or is in use"},
	Missing:       {"missing", 15, "the thing asked for does not exist"},
}

// ExitInterrupted is the exit code of a command stopped by a signal (128 + SIGINT, as shells report it).
const ExitInterrupted = 130

func (k Kind) String() string { return kinds[k].name }

// Exit returns the exit code that stands for the kind.
func (k Kind) Exit() int { return kinds[k].exit }

// Help returns one sentence that explains the kind, for the table of exit codes.
func (k Kind) Help() string { return kinds[k].help }

// Kinds returns every kind, in the order of their exit codes.
func Kinds() []Kind {
	all := make([]Kind, len(kinds))
	for i := range kinds {
		all[i] = Kind(i)
	}
	return all
}

// Error is an error with a kind and, where there is one, a hint about what to do.
type Error struct {
	Kind Kind
	Err  error
	Hint string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// New returns err with a kind and a hint; an empty hint is fine where the error speaks for itself.
func New(kind Kind, err error, hint string) error { return &Error{Kind: kind, Err: err, Hint: hint} }

// Newf returns a new error of a kind, without a hint. It wraps what %w names.
func Newf(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// KindOf returns the kind of the outermost Error in err's tree. An error that has none is judged by what
// the system said: no space left is Space, a missing file Missing, a refused permission or a filesystem that is read-only Host, and a
// path that can name nothing Input: a folder where a file should be (or the other way round), links in a circle, too long a name.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case Full(err):
		return Space
	case errors.Is(err, fs.ErrNotExist):
		return Missing
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return Host
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG):
		return Input
	}
	return Bug
}

const makeRoom = "make room, with `ingot cache prune` perhaps, or choose other folders: --cache-dir, --state-dir, --output"

// Full says whether the system found no room left.
func Full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// HintOf returns the outermost hint in err's tree, or what helps against what the system said, or "".
func HintOf(err error) string {
	for rest := err; rest != nil; {
		var e *Error
		if !errors.As(rest, &e) {
			break
		}
		if e.Hint != "" {
			return e.Hint
		}
		rest = e.Err
	}
	if Full(err) {
		return makeRoom
	}
	return ""
}

// Exit returns the exit code for err: 0 for nil, ExitInterrupted where the context was cancelled.
func Exit(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return KindOf(err).Exit()
}
