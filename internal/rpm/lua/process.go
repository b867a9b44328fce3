package lua

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/sandbox"
)

// A script runs in a process of its own, this program again. What a script makes its interpreter do within one step, such as
// to join strings or to match a pattern, can take any memory and any time, and can be ended in no other way.

// job is what the process is told to do.
type job struct {
	Root       string
	Now        time.Time
	Files      []string
	Name, Text string
	Args       []int
	Prefixes   []string
}

// message is what the process says: something for the script's output, a program to run, or how the script ended.
type message struct {
	Output  []byte
	Execute []string
	Done    bool
	End     result
}

// result is how a script, or a program, ended.
type result struct {
	Code int // of a program that ran and failed
	Kind fault.Kind
	Text string // of any other error
}

func resultOf(err error) (r result) {
	var exit *sandbox.ExitError
	switch {
	case errors.As(err, &exit):
		r.Code = exit.Code
	case err != nil:
		r.Kind, r.Text = fault.KindOf(err), err.Error()
	}
	return r
}

func (r result) err(args []string) error {
	switch {
	case r.Code != 0:
		return fault.New(fault.Script, &sandbox.ExitError{Args: args, Code: r.Code}, "")
	case r.Text != "":
		return fault.New(r.Kind, errors.New(r.Text), "")
	}
	return nil
}

var helper = sandbox.Role("ingot-lua", serve)

// Run runs a script. args are what it finds in the table arg, from its second place on; the first is "<lua>". Prefixes are
// where the package is installed, for packages that could be elsewhere. Errors of the script are of kind Script, but for
// one that takes too much memory, whose process is ended: it is of kind Input.
func Run(ctx context.Context, o Options, name, text string, args []int, prefixes []string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := helper(ctx)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Host, fmt.Errorf("starting the interpreter: %w", err), "")
	}
	end, err := o.converse(ctx, gob.NewEncoder(in), gob.NewDecoder(out), &job{o.Root, o.Now, o.Files, name, text, args, prefixes})
	in.Close()
	if err != nil {
		cancelled := ctx.Err() != nil
		_ = cmd.Process.Kill() // it may be gone
		_ = cmd.Wait()         // that it was killed is no news
		if cancelled {
			return context.Cause(ctx)
		}
		first, _, _ := strings.Cut(said.String(), "\n")
		return fault.New(fault.Input, fmt.Errorf("the script's interpreter ended (%s): %w; it may take %d MiB of memory", first, err, maxMemory>>20), "")
	}
	_ = cmd.Wait() // it has said how it ended
	return end.err(nil)
}

// converse tells the process what to do, and does for it what it asks for.
func (o *Options) converse(ctx context.Context, to *gob.Encoder, from *gob.Decoder, j *job) (*result, error) {
	if err := to.Encode(j); err != nil {
		return nil, err
	}
	for {
		var m message
		if err := from.Decode(&m); err != nil {
			return nil, err
		}
		switch {
		case m.Done:
			return &m.End, nil
		case m.Execute != nil:
			if err := to.Encode(resultOf(o.Execute(ctx, m.Execute))); err != nil {
				return nil, err
			}
		default:
			if _, err := o.Output.Write(m.Output); err != nil {
				return nil, err
			}
		}
	}
}

// serve is the process.
func serve(in io.Reader, out io.Writer) error {
	if err := limit(); err != nil {
		return err
	}
	debug.SetTraceback("none")
	debug.SetMemoryLimit(maxMemory / 4 * 3) // from there on, what is garbage is looked for more often
	from, to := gob.NewDecoder(in), gob.NewEncoder(out)
	var j job
	if err := from.Decode(&j); err != nil {
		return err
	}
	o := Options{Root: j.Root, Output: output{to}, Now: j.Now, Files: j.Files, Execute: func(_ context.Context, args []string) error {
		var r result
		if err := to.Encode(message{Execute: args}); err != nil {
			return err
		}
		if err := from.Decode(&r); err != nil {
			return err
		}
		return r.err(args)
	}}
	return to.Encode(message{Done: true, End: resultOf(run(context.Background(), o, &j))})
}

// limit lets the process take no more than maxMemory beside what it has, by its addresses: Go reserves those before
// it uses them, and what was reserved does not count as data (RLIMIT_DATA, getrlimit(2)). Its time is limited for the case
// that who waits for it has been killed.
func limit() error {
	const most = uint64(timeout / time.Second)
	if err := unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: most, Max: most}); err != nil {
		return err
	}
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		return err
	}
	room := pages*uint64(os.Getpagesize()) + maxMemory //nolint:gosec // a page has no negative size
	return unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: room, Max: room})
}

// output sends what is written.
type output struct{ to *gob.Encoder }

func (o output) Write(p []byte) (n int, err error) {
	const most = 64 << 10
	for err == nil && n < len(p) {
		part := p[n:min(len(p), n+most)]
		err = o.to.Encode(message{Output: part})
		n += len(part)
	}
	return n, err
}
