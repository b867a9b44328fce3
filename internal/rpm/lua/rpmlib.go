package lua

import (
	"encoding/base64"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"ingot/internal/rpm"
)

// openRPM makes rpm. Macros there are none: they are those of the tree's own rpm, which is not at hand.
func (s *state) openRPM(L *lua.LState) {
	register(L, "rpm", map[string]lua.LGFunction{
		"vercmp": func(L *lua.LState) int {
			L.Push(lua.LNumber(rpm.Compare(L.CheckString(1), L.CheckString(2))))
			return 1
		},
		"execute": s.rpmExecute,
		"next_file": func(L *lua.LState) int {
			if len(s.Files) == 0 {
				L.Push(lua.LNil)
				return 1
			}
			L.Push(lua.LString(s.Files[0]))
			s.Files = s.Files[1:]
			return 1
		},
		"glob":        s.glob,
		"expand":      expand,
		"isdefined":   func(L *lua.LState) int { L.Push(lua.LFalse); L.Push(lua.LFalse); return 2 },
		"interactive": func(*lua.LState) int { return 0 },
		"b64encode": func(L *lua.LState) int {
			L.Push(lua.LString(base64.StdEncoding.EncodeToString([]byte(L.CheckString(1)))))
			return 1
		},
		"b64decode": func(L *lua.LState) int {
			b, err := base64.StdEncoding.DecodeString(L.CheckString(1))
			if err != nil {
				L.Push(lua.LNil)
				return 1
			}
			L.Push(lua.LString(b))
			return 1
		},
	})
}

// expand returns a text without macros as it is.
func expand(L *lua.LState) int {
	text := L.CheckString(1)
	if strings.Contains(strings.ReplaceAll(text, "%%", ""), "%") {
		L.RaiseError("rpm.expand of %q: macros are not known when an image is made", text)
	}
	L.Push(lua.LString(strings.ReplaceAll(text, "%%", "%")))
	return 1
}

// rpmExecute returns the status that wait(2) reports: the exit code, times 256.
func (s *state) rpmExecute(L *lua.LState) int {
	args := make([]string, L.GetTop())
	for i := range args {
		args[i] = L.CheckString(i + 1)
	}
	if len(args) == 0 {
		L.ArgError(1, "a program expected")
	}
	L.Push(lua.LNumber(s.execute(L, args) << 8))
	return 1
}

func (s *state) glob(L *lua.LState) int {
	found, err := s.root.glob(L.CheckString(1))
	if err != nil {
		L.RaiseError("%v", err)
	}
	if len(found) == 0 && !strings.Contains(L.OptString(2, ""), "c") {
		found = []string{L.CheckString(1)}
	}
	L.Push(list(L, found))
	return 1
}
