package lua

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"
)

// file is an open file of a script.
type file struct {
	*os.File
	in *bufio.Reader // what is read ahead; nil after a write
}

// fileType names the metatable of files.
const fileType = "FILE*"

// openIO makes io, whose files are the tree's. What is written to its output goes to the script's.
func (s *state) openIO(L *lua.LState) {
	meta := L.NewTypeMetatable(fileType)
	methods := L.SetFuncs(L.NewTable(), map[string]lua.LGFunction{
		"read": s.fileRead, "write": s.fileWrite, "lines": s.fileLines, "close": s.fileClose, "seek": s.fileSeek,
		"flush": succeed, "setvbuf": succeed,
	})
	meta.RawSetString("__index", methods)
	meta.RawSetString("__tostring", L.NewFunction(func(L *lua.LState) int { L.Push(lua.LString("file")); return 1 }))
	out := s.userdata(L, nil)
	io := register(L, "io", map[string]lua.LGFunction{
		"open": s.ioOpen, "lines": s.ioLines, "close": s.fileClose, "type": s.ioType,
		"write": func(L *lua.LState) int { return s.writeAll(L, out, 1) },
	})
	io.RawSetString("stdout", out)
	io.RawSetString("stderr", out)
}

func succeed(L *lua.LState) int { L.Push(lua.LTrue); return 1 }

func (s *state) userdata(L *lua.LState, f *file) *lua.LUserData {
	u := L.NewUserData()
	u.Value = f
	u.Metatable = L.GetTypeMetatable(fileType)
	return u
}

// modes of io.open.
var modes = map[string]int{"r": unix.O_RDONLY, "r+": unix.O_RDWR, "w": unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC,
	"w+": unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC, "a": unix.O_WRONLY | unix.O_CREAT | unix.O_APPEND, "a+": unix.O_RDWR | unix.O_CREAT | unix.O_APPEND}

func (s *state) ioOpen(L *lua.LState) int {
	name, mode := L.CheckString(1), strings.ReplaceAll(L.OptString(2, "r"), "b", "")
	flags, ok := modes[mode]
	if !ok {
		L.ArgError(2, "invalid mode")
	}
	f, err := s.openFile(name, flags)
	if err != nil {
		return s.result(L, nil, name, err)
	}
	L.Push(s.userdata(L, f))
	return 1
}

func (s *state) openFile(name string, flags int) (*file, error) {
	if len(s.files) >= maxOpen {
		return nil, unix.EMFILE
	}
	opened, err := s.root.open(name, flags, 0o666&^s.mask)
	if err != nil {
		if opened != nil {
			opened.Close()
		}
		return nil, err
	}
	f := &file{File: opened}
	s.files[f] = true
	return f, nil
}

// check returns the file that an argument is; nil stands for the script's output.
func (s *state) check(L *lua.LState, n int) *file {
	u := L.CheckUserData(n)
	f, ok := u.Value.(*file)
	if !ok {
		L.ArgError(n, "file expected")
	}
	if f != nil && !s.files[f] {
		L.RaiseError("attempt to use a closed file")
	}
	return f
}

func (s *state) fileClose(L *lua.LState) int {
	f := s.check(L, 1)
	if f == nil {
		return succeed(L)
	}
	delete(s.files, f)
	return s.result(L, lua.LTrue, "", f.File.Close())
}

func (s *state) ioType(L *lua.LState) int {
	u, ok := L.Get(1).(*lua.LUserData)
	var f *file
	if ok {
		f, ok = u.Value.(*file)
	}
	switch {
	case !ok:
		L.Push(lua.LNil)
	case f != nil && !s.files[f]:
		L.Push(lua.LString("closed file"))
	default:
		L.Push(lua.LString("file"))
	}
	return 1
}

func (s *state) fileWrite(L *lua.LState) int { return s.writeAll(L, L.CheckUserData(1), 2) }

func (s *state) writeAll(L *lua.LState, to *lua.LUserData, from int) int {
	w := s.Output
	if f, ok := to.Value.(*file); ok && f != nil {
		if !s.files[f] {
			L.RaiseError("attempt to use a closed file")
		}
		if err := f.settle(); err != nil {
			return s.result(L, nil, "", err)
		}
		w = f
	}
	for i := from; i <= L.GetTop(); i++ {
		if _, err := io.WriteString(w, L.CheckString(i)); err != nil {
			return s.result(L, nil, "", err)
		}
	}
	L.Push(to)
	return 1
}

// settle gives up what was read ahead.
func (f *file) settle() error {
	if f.in == nil {
		return nil
	}
	_, err := f.Seek(-int64(f.in.Buffered()), io.SeekCurrent)
	f.in = nil
	return err
}

func (s *state) fileSeek(L *lua.LState) int {
	f := s.check(L, 1)
	whence, ok := map[string]int{"set": io.SeekStart, "cur": io.SeekCurrent, "end": io.SeekEnd}[L.OptString(2, "cur")]
	if !ok || f == nil {
		L.ArgError(2, "invalid option")
	}
	if err := f.settle(); err != nil {
		return s.result(L, nil, "", err)
	}
	at, err := f.Seek(int64(L.OptNumber(3, 0)), whence)
	return s.result(L, lua.LNumber(at), "", err)
}

func (s *state) fileRead(L *lua.LState) int {
	f := s.check(L, 1)
	if f == nil {
		L.Push(lua.LNil)
		return 1
	}
	if L.GetTop() == 1 {
		L.Push(lua.LString("*l"))
	}
	n := 0
	for i := 2; i <= L.GetTop()-n; i++ {
		v, err := f.read(L.Get(i))
		if err != nil {
			return s.result(L, nil, "", err)
		}
		L.Push(v)
		if n++; v == lua.LNil {
			break
		}
	}
	return n
}

// read reads what one of Lua's formats says; nil at the end of the file.
func (f *file) read(format lua.LValue) (lua.LValue, error) {
	if f.in == nil {
		f.in = bufio.NewReader(f.File)
	}
	if n, ok := format.(lua.LNumber); ok {
		if n < 0 || n > maxRead {
			return nil, unix.ENOMEM
		}
		b := make([]byte, int(n))
		got, err := io.ReadFull(f.in, b)
		if errors.Is(err, io.EOF) && n > 0 {
			return lua.LNil, nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = nil
		}
		return lua.LString(b[:got]), err
	}
	kind, _ := utf8.DecodeRuneInString(strings.TrimPrefix(format.String(), "*")) // "*all" is "*a"
	switch kind {
	case 'a':
		b, err := io.ReadAll(io.LimitReader(f.in, maxRead+1))
		if err == nil && len(b) > maxRead {
			err = unix.ENOMEM
		}
		return lua.LString(b), err
	case 'l', 'L':
		line, err := f.line()
		if err != nil || line == "" {
			return lua.LNil, err
		}
		if kind == 'l' {
			line = strings.TrimSuffix(line, "\n")
		}
		return lua.LString(line), nil
	}
	return nil, unix.EINVAL
}

// line returns a line with its end; an empty one at the end of the file.
func (f *file) line() (string, error) {
	var b strings.Builder
	for {
		part, err := f.in.ReadSlice('\n')
		b.Write(part)
		switch {
		case b.Len() > maxRead:
			return "", unix.ENOMEM
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF), err == nil:
			return b.String(), nil
		}
		return "", err
	}
}

func (s *state) fileLines(L *lua.LState) int {
	f := s.check(L, 1)
	if f == nil {
		L.ArgError(1, "it cannot be read")
	}
	L.Push(L.NewFunction(s.iterator(f, false)))
	return 1
}

func (s *state) ioLines(L *lua.LState) int {
	name := L.CheckString(1)
	f, err := s.openFile(name, unix.O_RDONLY)
	if err != nil {
		L.RaiseError("%s: %s", name, errorText(err))
	}
	L.Push(L.NewFunction(s.iterator(f, true)))
	return 1
}

func (s *state) iterator(f *file, closes bool) lua.LGFunction {
	return func(L *lua.LState) int {
		if !s.files[f] {
			L.RaiseError("file is already closed")
		}
		v, err := f.read(lua.LString("*l"))
		if err != nil {
			L.RaiseError("%s", errorText(err))
		}
		if v == lua.LNil && closes {
			delete(s.files, f)
			f.File.Close()
		}
		L.Push(v)
		return 1
	}
}
