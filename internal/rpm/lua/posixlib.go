package lua

import (
	"os"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"

	"ingot/internal/tree"
)

// openPOSIX makes posix, as rpm's rpmio/lposix.c has it, without what is about processes.
func (s *state) openPOSIX(L *lua.LState) {
	register(L, "posix", map[string]lua.LGFunction{
		"access": s.access, "chmod": s.chmod, "chown": s.chown, "utime": s.utime, "umask": s.umask,
		"chdir": s.call(s.chdir), "mkdir": s.call(s.mkdir), "unlink": s.call(func(n string) error { return s.unlinkat(n, 0) }),
		"rmdir":  s.call(func(n string) error { return s.unlinkat(n, unix.AT_REMOVEDIR) }),
		"mkfifo": s.call(func(n string) error { return s.node(n, unix.S_IFIFO) }),
		"getcwd": func(L *lua.LState) int { L.Push(lua.LString(s.root.cwd)); return 1 },
		"link":   s.link, "symlink": s.symlink, "readlink": s.readlink, "stat": s.stat, "dir": s.dir, "files": s.filesIn,
		"getpasswd": s.getpasswd, "getgroup": s.getgroup, "getenv": s.getenv, "setenv": s.setenv,
		"unsetenv": func(L *lua.LState) int { delete(s.env, L.CheckString(1)); return 0 },
		"errno": func(L *lua.LState) int {
			if s.errno == nil {
				L.Push(lua.LString("Success"))
				L.Push(lua.LNumber(0))
				return 2
			}
			L.Push(lua.LString(errorText(s.errno)))
			L.Push(lua.LNumber(errorNumber(s.errno)))
			return 2
		},
		"uname": s.uname, "sleep": func(L *lua.LState) int { L.Push(lua.LNumber(0)); return 1 },
		"fork": refused("fork"), "exec": refused("exec"), "wait": refused("wait"), "kill": refused("kill"),
	})
}

func refused(name string) lua.LGFunction {
	return func(L *lua.LState) int {
		L.RaiseError("posix.%s is not supported when an image is made", name)
		return 0
	}
}

// call makes a function of one path that returns 0.
func (s *state) call(fn func(name string) error) lua.LGFunction {
	return func(L *lua.LState) int {
		name := L.CheckString(1)
		return s.result(L, lua.LNumber(0), name, fn(name))
	}
}

func (s *state) access(L *lua.LState) int {
	name := L.CheckString(1)
	st, err := s.root.stat(name, true)
	// Root may read and write everything, and execute what anybody may.
	if err == nil && strings.Contains(L.OptString(2, "f"), "x") && st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Mode&0o111 == 0 {
		err = unix.EACCES
	}
	return s.result(L, lua.LNumber(0), name, err)
}

func (s *state) chdir(name string) error {
	fd, err := s.root.openat(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	s.root.cwd = strings.TrimSuffix(s.root.absolute(name), "/")
	if s.root.cwd == "" {
		s.root.cwd = "/"
	}
	return unix.Close(fd)
}

func (s *state) mkdir(name string) error {
	return s.root.in(name, func(dir int, base string) error {
		if err := unix.Mkdirat(dir, base, 0o777&^s.mask); err != nil {
			return err
		}
		return unix.Fchmodat(dir, base, 0o777&^s.mask, 0) // past the umask of this process
	})
}

func (s *state) node(name string, kind uint32) error {
	return s.root.in(name, func(dir int, base string) error { return unix.Mknodat(dir, base, kind|0o777&^s.mask, 0) })
}

func (s *state) unlinkat(name string, flags int) error {
	return s.root.in(name, func(dir int, base string) error { return unix.Unlinkat(dir, base, flags) })
}

func (s *state) link(L *lua.LState) int {
	err := s.root.in(L.CheckString(1), func(dir int, base string) error {
		return s.root.in(L.CheckString(2), func(toDir int, toBase string) error { return unix.Linkat(dir, base, toDir, toBase, 0) })
	})
	return s.result(L, lua.LNumber(0), "", err)
}

func (s *state) symlink(L *lua.LState) int {
	target := L.CheckString(1)
	err := s.root.in(L.CheckString(2), func(dir int, base string) error { return unix.Symlinkat(target, dir, base) })
	return s.result(L, lua.LNumber(0), "", err)
}

func (s *state) readlink(L *lua.LState) int {
	name, target := L.CheckString(1), make([]byte, 4096)
	n := 0
	err := s.root.in(name, func(dir int, base string) (err error) {
		n, err = unix.Readlinkat(dir, base, target)
		return err
	})
	return s.result(L, lua.LString(target[:max(n, 0)]), name, err)
}

func (s *state) chmod(L *lua.LState) int {
	name, text := L.CheckString(1), L.CheckString(2)
	st, err := s.root.stat(name, true)
	if err == nil {
		mode, ok := changeMode(st.Mode&0o7777, text)
		if !ok {
			L.ArgError(2, "bad mode")
		}
		err = s.root.on(name, func(host string) error { return unix.Chmod(host, mode) })
	}
	return s.result(L, lua.LNumber(0), name, err)
}

func (s *state) umask(L *lua.LState) int {
	mode := ^s.mask & 0o777
	if L.GetTop() > 0 {
		changed, ok := changeMode(mode, L.CheckString(1))
		if !ok {
			L.Push(lua.LNil)
			return 1
		}
		mode = changed & 0o777
		s.mask = ^mode & 0o777
	}
	L.Push(lua.LString(spellMode(mode)))
	return 1
}

func (s *state) chown(L *lua.LState) int {
	name := L.CheckString(1)
	uid, gid := s.id(L, 2, "etc/passwd"), s.id(L, 3, "etc/group")
	err := s.root.on(name, func(host string) error { return os.Chown(host, uid, gid) })
	return s.result(L, lua.LNumber(0), name, err)
}

// id returns a user or group that an argument names or numbers; -1 for none.
func (s *state) id(L *lua.LState, n int, table string) int {
	if v, ok := L.Get(n).(lua.LNumber); ok {
		return int(v)
	}
	if L.Get(n) == lua.LNil {
		return -1
	}
	if id, ok := s.ids(L, table)[L.CheckString(n)]; ok {
		return int(id)
	}
	return -1
}

func (s *state) ids(L *lua.LState, table string) map[string]uint32 {
	r, err := os.OpenRoot(s.Root)
	var ids map[string]uint32
	if err == nil {
		defer r.Close()
		ids, err = tree.ReadIDs(r, table)
	}
	if err != nil {
		L.RaiseError("%v", err)
	}
	return ids
}

func (s *state) utime(L *lua.LState) int {
	name := L.CheckString(1)
	at := func(n int) unix.Timespec {
		return unix.NsecToTimespec(int64(L.OptNumber(n, lua.LNumber(s.Now.Unix()))) * 1e9)
	}
	times := []unix.Timespec{at(3), at(2)}
	err := s.root.on(name, func(host string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, host, times, 0) })
	return s.result(L, lua.LNumber(0), name, err)
}

// kinds of files, as posix.stat names them.
var kinds = map[uint32]string{unix.S_IFREG: "regular", unix.S_IFDIR: "directory", unix.S_IFLNK: "link", unix.S_IFCHR: "character device",
	unix.S_IFBLK: "block device", unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket"}

func (s *state) stat(L *lua.LState) int {
	name := L.CheckString(1)
	st, err := s.root.stat(name, false)
	if err != nil {
		return s.result(L, nil, name, err)
	}
	number := func(n int64) lua.LValue { return lua.LNumber(n) }
	return choose(L, 2, map[string]lua.LValue{
		"mode": lua.LString(spellMode(st.Mode)), "type": lua.LString(kinds[st.Mode&unix.S_IFMT]), "_mode": number(int64(st.Mode)),
		"uid": number(int64(st.Uid)), "gid": number(int64(st.Gid)), "size": number(st.Size),
		"nlink": number(int64(st.Nlink)), "ino": number(int64(st.Ino)), "dev": number(int64(st.Dev)), //nolint:gosec,unconvert // types differ between architectures
		"atime": number(st.Atim.Sec), "mtime": number(st.Mtim.Sec), "ctime": number(st.Ctim.Sec),
	})
}

// choose returns a table of values, or the one that an argument names.
func choose(L *lua.LState, n int, values map[string]lua.LValue) int {
	if L.Get(n) != lua.LNil {
		v, ok := values[L.CheckString(n)]
		if !ok {
			L.ArgError(n, "invalid option "+L.CheckString(n))
		}
		L.Push(v)
		return 1
	}
	t := L.NewTable()
	for k, v := range values {
		t.RawSetString(k, v)
	}
	L.Push(t)
	return 1
}

func (s *state) dir(L *lua.LState) int {
	name := L.OptString(1, ".")
	names, err := s.root.list(name)
	if err != nil {
		return s.result(L, nil, name, err)
	}
	L.Push(list(L, names))
	return 1
}

func (s *state) filesIn(L *lua.LState) int {
	name := L.OptString(1, ".")
	names, err := s.root.list(name)
	if err != nil {
		return s.result(L, nil, name, err)
	}
	L.Push(L.NewFunction(func(L *lua.LState) int {
		if len(names) == 0 {
			L.Push(lua.LNil)
			return 1
		}
		L.Push(lua.LString(names[0]))
		names = names[1:]
		return 1
	}))
	return 1
}

// record finds a line of passwd(5) or group(5) by its name or number.
func (s *state) record(L *lua.LState, name string) []string {
	f, err := s.openFile(name, unix.O_RDONLY)
	if err != nil {
		return nil
	}
	defer func() { delete(s.files, f); f.File.Close() }()
	all, err := f.read(lua.LString("*a"))
	if err != nil {
		L.RaiseError("%s: %s", name, errorText(err))
	}
	for line := range strings.Lines(all.String()) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) > 3 && (fields[0] == L.Get(1).String() || fields[2] == L.Get(1).String()) {
			return fields
		}
	}
	return nil
}

func (s *state) getpasswd(L *lua.LState) int {
	if L.Get(1) == lua.LNil {
		L.Insert(lua.LNumber(0), 1)
	}
	f := s.record(L, "/etc/passwd")
	if len(f) < 7 {
		L.Push(lua.LNil)
		return 1
	}
	return choose(L, 2, map[string]lua.LValue{"name": lua.LString(f[0]), "passwd": lua.LString(f[1]), "uid": toNumber(f[2]), "gid": toNumber(f[3]),
		"gecos": lua.LString(f[4]), "dir": lua.LString(f[5]), "shell": lua.LString(f[6])})
}

func (s *state) getgroup(L *lua.LState) int {
	f := s.record(L, "/etc/group")
	if f == nil {
		L.Push(lua.LNil)
		return 1
	}
	t := list(L, strings.FieldsFunc(f[3], func(c rune) bool { return c == ',' }))
	t.RawSetString("name", lua.LString(f[0]))
	t.RawSetString("gid", toNumber(f[2]))
	L.Push(t)
	return 1
}

func toNumber(text string) lua.LValue {
	n, err := strconv.Atoi(text)
	if err != nil {
		return lua.LNil
	}
	return lua.LNumber(n)
}

// uname describes no machine: what a tree is for may be told from nothing that it is made on.
func (s *state) uname(L *lua.LState) int {
	L.Push(lua.LString(strings.NewReplacer("%s", "Linux", "%n", "localhost", "%r", "", "%v", "", "%m", "").Replace(L.OptString(1, "%s"))))
	return 1
}
