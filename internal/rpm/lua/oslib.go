package lua

import (
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"
)

// openOS replaces what of os would reach the host: its files, programs, environment and clock.
func (s *state) openOS(L *lua.LState) {
	t := register(L, lua.OsLibName, map[string]lua.LGFunction{
		"remove":    s.path(func(name string) error { return s.remove(name) }),
		"rename":    s.rename,
		"execute":   s.osExecute,
		"exit":      func(L *lua.LState) int { return s.exit(L, L.OptInt(1, 0)) },
		"getenv":    s.getenv,
		"setlocale": func(L *lua.LState) int { L.Push(lua.LString("C")); return 1 },
		"tmpname":   s.tmpname,
		"clock":     func(L *lua.LState) int { L.Push(lua.LNumber(0)); return 1 },
		"setenv":    s.setenv,
	})
	date, clock := t.RawGetString("date"), t.RawGetString("time")
	t.RawSetString("time", L.NewFunction(func(L *lua.LState) int {
		if L.GetTop() == 0 {
			L.Push(lua.LNumber(s.Now.Unix()))
			return 1
		}
		L.Push(clock)
		L.Push(L.Get(1))
		L.Call(1, 1)
		return 1
	}))
	t.RawSetString("date", L.NewFunction(func(L *lua.LState) int {
		format := L.OptString(1, "%c")
		if !strings.HasPrefix(format, "!") {
			format = "!" + format // the tree's time is UTC, whatever this machine's is
		}
		at := L.OptInt64(2, s.Now.Unix())
		L.Push(date)
		L.Push(lua.LString(format))
		L.Push(lua.LNumber(at))
		L.Call(2, 1)
		return 1
	}))
}

// path makes a function of one path.
func (s *state) path(fn func(name string) error) lua.LGFunction {
	return func(L *lua.LState) int {
		name := L.CheckString(1)
		return s.result(L, lua.LTrue, name, fn(name))
	}
}

func (s *state) remove(name string) error {
	return s.root.in(name, func(dir int, base string) error {
		err := unix.Unlinkat(dir, base, 0)
		if err == unix.EISDIR { //nolint:errorlint // as the system call returns it
			err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
		}
		return err
	})
}

func (s *state) rename(L *lua.LState) int {
	from, to := L.CheckString(1), L.CheckString(2)
	err := s.root.in(from, func(dir int, base string) error {
		return s.root.in(to, func(toDir int, toBase string) error { return unix.Renameat(dir, base, toDir, toBase) })
	})
	return s.result(L, lua.LTrue, from, err)
}

// osExecute returns what the C library's system(3) does: the exit code, times 256.
func (s *state) osExecute(L *lua.LState) int {
	if L.GetTop() == 0 {
		L.Push(lua.LNumber(1)) // there is a shell, or there will be
		return 1
	}
	L.Push(lua.LNumber(s.execute(L, []string{"/bin/sh", "-c", L.CheckString(1)}) << 8))
	return 1
}

func (s *state) exit(L *lua.LState, code int) int {
	if code != 0 {
		L.RaiseError("the script ends with exit code %d", code)
	}
	L.Error(lua.LString(errDone.Error()), 0)
	return 0
}

func (s *state) getenv(L *lua.LState) int {
	if v, ok := s.env[L.CheckString(1)]; ok {
		L.Push(lua.LString(v))
	} else {
		L.Push(lua.LNil)
	}
	return 1
}

func (s *state) setenv(L *lua.LState) int {
	s.env[L.CheckString(1)] = L.CheckString(2)
	return succeed(L)
}

// tmpname makes an empty file whose name depends on what is there alone.
func (s *state) tmpname(L *lua.LState) int {
	const dir = "/var/tmp"
	for n := range 1000 {
		name := fmt.Sprintf("%s/lua_%03d", dir, n)
		if _, err := s.root.stat(name, false); err == nil {
			continue
		}
		f, err := s.root.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err != nil {
			L.RaiseError("%s: %s", name, errorText(err))
		}
		f.Close()
		L.Push(lua.LString(name))
		return 1
	}
	L.RaiseError("there are too many temporary files")
	return 0
}
