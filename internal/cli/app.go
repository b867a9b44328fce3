// Package cli is the command line: one file for each verb, which turns flags into one call and renders what
// comes back.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
)

// app is what the verbs share: the global flags, and what is opened for them.
type app struct {
	out, err io.Writer

	json    bool
	quiet   bool
	verbose bool
	offline bool
	trace   string
	cache   string
	state   string
	where   string // of the catalogue

	reporter *progress.Reporter
	hide     func()             // takes the bars off the terminal until there is something new to show; may be nil
	local    *pipeline.Endpoint // of the local region, once it is open
	closers  []func() error     // of what was opened, in that order
}

// Main runs the command line and returns its exit code.
func Main(ctx context.Context, args []string, out, errw io.Writer) int {
	a := &app{out: out, err: errw}
	return a.run(ctx, a.root(), args)
}

// run runs a command line and returns its exit code.
func (a *app) run(ctx context.Context, root *cobra.Command, args []string) int {
	out := &checked{w: a.out}
	a.out = out
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err = errors.Join(err, a.close()); err == nil {
		err = out.failure()
	}
	var left *exitError
	if errors.As(err, &left) {
		return left.code
	}
	a.report(err)
	return fault.Exit(err)
}

// checked remembers the first error of writing a result: a full disk is no success, though hardly a verb looks at what each write returns.
type checked struct {
	w   io.Writer
	mu  sync.Mutex
	err error
}

// Write implements io.Writer.
func (c *checked) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	return n, err
}

func (c *checked) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	return fmt.Errorf("writing the result: %w", c.err)
}

// exitError ends the program with a code of its own and without a word: what is to be said has been said.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

// report says why a command failed, and what to do about it.
func (a *app) report(err error) {
	if err == nil {
		return
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.err, "ingot: interrupted; run the same command again to go on")
		return
	}
	kind := fault.KindOf(err)
	if a.json {
		a.result("error", map[string]any{"kind": kind.String(), "exit": kind.Exit(), "error": err.Error(), "hint": fault.HintOf(err)})
		return
	}
	fmt.Fprintf(a.err, "ingot: %v\n", err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", hint)
	}
	if kind == fault.Bug {
		fmt.Fprintln(a.err, "hint: this is not an error that ingot knows; -v may show more")
	}
}

// begin prepares what the flags ask for; it runs before every verb.
func (a *app) begin() error {
	var sinks []progress.Sink
	switch {
	case a.json:
		sinks = append(sinks, events(a.out))
	case a.quiet:
	case isTerminal(a.err):
		sink, hide := bars(a.err, a.verbose)
		sinks, a.hide = append(sinks, sink), hide
	default:
		sinks = append(sinks, lines(a.err, a.verbose))
	}
	if a.trace != "" {
		f, err := os.Create(a.trace)
		if err != nil {
			return fault.New(fault.Usage, fmt.Errorf("--trace: %w", err), "")
		}
		sink, end := trace(f)
		sinks = append(sinks, sink)
		a.closers = append(a.closers, func() error { return errors.Join(end(), f.Close()) })
	}
	a.reporter = progress.New(sinks...)
	return nil
}

// settle has all that was reported on the terminal and no bar below it, so that something else can be printed.
func (a *app) settle() {
	if a.hide != nil {
		a.hide()
	}
}

// close closes what was opened, in the reverse order: the last thing to end is what tells of the others.
func (a *app) close() error {
	var errs []error
	for _, c := range slices.Backward(a.closers) {
		errs = append(errs, c())
	}
	a.closers = nil
	a.settle()
	return errors.Join(errs...)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// result prints a value as one line of JSON, after all events.
func (a *app) result(kind string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // results are made of what JSON can write
	}
	fmt.Fprintf(a.out, `{"event":%q,"value":%s}`+"\n", kind, text)
}

// say prints the result of a verb: text for people, or v as JSON with --json.
func (a *app) say(v any, format string, args ...any) error {
	a.settle()
	if a.json {
		a.result("result", v)
	} else {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
	return nil
}

// foundry opens the caches that the steps work with.
func (a *app) foundry() (*pipeline.Foundry, error) {
	cache, err := a.cacheDir()
	if err != nil {
		return nil, err
	}
	client, err := fetch.New(fetch.Options{Dir: filepath.Join(cache, "downloads"), Offline: a.offline})
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, func() error { client.Close(); return nil })
	return &pipeline.Foundry{Cache: cache, Fetch: client, Progress: a.reporter, Now: time.Now}, nil
}

func (a *app) cacheDir() (string, error) {
	return ownFolder(a.cache, "INGOT_CACHE", "XDG_CACHE_HOME", ".cache")
}
func (a *app) stateDir() (string, error) {
	return ownFolder(a.state, "INGOT_STATE", "XDG_STATE_HOME", ".local/state")
}

// ownFolder finds a folder of ours by the XDG base directory specification.
func ownFolder(flag, own, xdg, home string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	if d := os.Getenv(own); d != "" {
		return filepath.Abs(d)
	}
	if d := os.Getenv(xdg); filepath.IsAbs(d) {
		return filepath.Join(d, "ingot"), nil
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return "", fault.New(fault.Host, err, "set "+own)
	}
	return filepath.Join(h, home, "ingot"), nil
}

// asRoot runs a verb as root of a user namespace when the user is not root: ownership in a tree needs it. The process in there
// opens everything for itself, so that this one has to give up the terminal and the file of --trace before.
func (a *app) asRoot(run func(cmd *cobra.Command, args []string) error) func(cmd *cobra.Command, args []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if os.Geteuid() != 0 {
			if err := a.close(); err != nil {
				return err
			}
		}
		code, entered, err := sandbox.Enter(cmd.Context())
		if err != nil {
			return err
		}
		if entered {
			return &exitError{code}
		}
		return run(cmd, args)
	}
}

// settings is the value of --set, which may be given any number of times.
type settings map[string]string

func (s settings) String() string { return "" }

// Type implements pflag.Value.
func (s settings) Type() string { return "key=value" }

// Set implements pflag.Value.
func (s settings) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return fmt.Errorf("%q is not key=value", text)
	}
	s[key] = value
	return nil
}
