// Package lua runs the Lua scripts of RPM packages, which rpm's own interpreter runs (`%post -p <lua>`; rpm's docs/manual/lua.md).
// It has the language of Lua 5.1, its libraries for strings, tables and numbers, and io, os, posix and rpm as far as scripts
// of packages use them. All files are those of a tree: paths are resolved by the kernel with the tree's root as "/", so that
// no link and no ".." leads out, and device nodes but /dev/null are not opened. Programs run by whatever the caller offers.
//
// A script cannot fork: what it wants to run, it has to run with os.execute, rpm.execute or posix.exec.
package lua

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"ingot/internal/fault"
	"ingot/internal/sandbox"
)

// Options says what scripts see.
type Options struct {
	Root   string    // the tree
	Output io.Writer // of print and io.write
	Now    time.Time // what the clock shows
	Files  []string  // what rpm.next_file returns, one after the other
	// Execute runs a program in the tree, args[0] by its path or as the tree's PATH finds it. An error of kind Script means
	// that it ran and failed, or could not be started.
	Execute func(ctx context.Context, args []string) error
}

// Limits on a script.
const (
	timeout   = 5 * time.Minute
	maxMemory = 512 << 20 // bytes of the process
	maxOpen   = 64        // files at once
	maxRead   = 64 << 20  // bytes at once
	maxRepeat = 16 << 20  // bytes that string.rep makes
)

// state is a script that runs.
type state struct {
	Options
	ctx   context.Context //nolint:containedctx // that of the run
	root  *root
	files map[*file]bool
	env   map[string]string
	mask  uint32
	errno error
}

// errDone ends a script that has replaced itself by a program, or exits.
var errDone = errors.New("the script is done")

// run runs a script in this process.
func run(ctx context.Context, o Options, j *job) error {
	r, err := openRoot(o.Root)
	if err != nil {
		return err
	}
	s := &state{Options: o, ctx: ctx, root: r, files: make(map[*file]bool), mask: 0o022,
		env: map[string]string{"PATH": "/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin", "HOME": "/root"}}
	defer s.close()
	L := lua.NewState(lua.Options{SkipOpenLibs: true, IncludeGoStackTrace: false})
	defer L.Close()
	L.SetContext(ctx)
	s.open(L)
	table := L.NewTable()
	table.Append(lua.LString("<lua>"))
	for _, n := range j.Args {
		table.Append(lua.LNumber(n))
	}
	L.SetGlobal("arg", table)
	if j.Prefixes != nil {
		L.SetGlobal("RPM_INSTALL_PREFIX", list(L, j.Prefixes))
	}
	fn, err := L.Load(strings.NewReader(j.Text), j.Name)
	if err == nil {
		L.Push(fn)
		err = L.PCall(0, lua.MultRet, nil)
	}
	return explain(ctx, err)
}

// explain turns Lua's error into ours.
func explain(ctx context.Context, err error) error {
	var api *lua.ApiError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &api) && api.Object != nil && api.Object.String() == errDone.Error():
		return nil
	case errors.As(err, &api) && api.Object != nil:
		return fault.Newf(fault.Script, "%s", api.Object)
	}
	return fault.New(fault.Script, err, "")
}

// open makes the libraries.
func (s *state) open(L *lua.LState) {
	for _, l := range []struct {
		name string
		open lua.LGFunction
	}{{"", lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.StringLibName, lua.OpenString}, {lua.MathLibName, lua.OpenMath},
		{lua.CoroutineLibName, lua.OpenCoroutine}, {lua.OsLibName, lua.OpenOs}} {
		L.Push(L.NewFunction(l.open))
		L.Push(lua.LString(l.name))
		L.Call(1, 0)
	}
	for _, name := range []string{"dofile", "loadfile", "require", "module", "collectgarbage", "newproxy"} {
		L.SetGlobal(name, lua.LNil)
	}
	L.SetGlobal("print", L.NewFunction(s.print))
	if t, ok := L.GetGlobal(lua.StringLibName).(*lua.LTable); ok {
		rep := t.RawGetString("rep")
		t.RawSetString("rep", L.NewFunction(func(L *lua.LState) int {
			if n := L.CheckInt(2); n > 0 && len(L.CheckString(1)) > maxRepeat/n {
				L.RaiseError("a string of more than %d bytes", maxRepeat)
			}
			L.Push(rep)
			L.Push(L.Get(1))
			L.Push(L.Get(2))
			L.Call(2, 1)
			return 1
		}))
	}
	s.openIO(L)
	s.openOS(L)
	s.openPOSIX(L)
	s.openRPM(L)
}

// register makes a library, or replaces functions of one.
func register(L *lua.LState, name string, functions map[string]lua.LGFunction) *lua.LTable {
	t, ok := L.GetGlobal(name).(*lua.LTable)
	if !ok {
		t = L.NewTable()
		L.SetGlobal(name, t)
	}
	return L.SetFuncs(t, functions)
}

func (s *state) print(L *lua.LState) int {
	for i := range L.GetTop() {
		if i > 0 {
			fmt.Fprint(s.Output, "\t")
		}
		fmt.Fprint(s.Output, L.ToStringMeta(L.Get(i+1)).String())
	}
	fmt.Fprint(s.Output, "\n")
	return 0
}

// close closes what the script left open.
func (s *state) close() {
	for f := range s.files {
		f.File.Close()
	}
	s.root.close()
}

// result pushes what a call of the system returns in Lua: something, or nil, a text and a number.
func (s *state) result(L *lua.LState, value lua.LValue, name string, err error) int {
	s.errno = err
	if err == nil {
		L.Push(value)
		return 1
	}
	L.Push(lua.LNil)
	if name != "" {
		name += ": "
	}
	L.Push(lua.LString(name + errorText(err)))
	L.Push(lua.LNumber(errorNumber(err)))
	return 3
}

func list(L *lua.LState, all []string) *lua.LTable {
	t := L.NewTable()
	for _, v := range all {
		t.Append(lua.LString(v))
	}
	return t
}

// execute runs a program and returns its exit code.
func (s *state) execute(L *lua.LState, args []string) int {
	err := s.Execute(s.ctx, args)
	var exit *sandbox.ExitError
	switch {
	case err == nil:
		return 0
	case s.ctx.Err() == nil && errors.As(err, &exit):
		return exit.Code
	case fault.KindOf(err) == fault.Script && s.ctx.Err() == nil:
		return 127
	}
	L.RaiseError("running %s: %v", args[0], err)
	return 0
}

func errorText(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	text := err.Error()
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
