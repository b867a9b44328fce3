package lua

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// now is what scripts see on the clock.
var now = time.Unix(1_600_000_000, 0)

// world is a tree beside which lies what scripts must not reach.
type world struct {
	root, outside string
	ran           [][]string
	out           strings.Builder
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{root: filepath.Join(dir, "root"), outside: filepath.Join(dir, "outside")}
	for _, d := range []string{"root/etc", "root/tmp", "root/var/tmp", "root/a/b", "outside"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"root/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nmail:x:8:12:m:/var:/bin/false\n",
		"root/etc/group": "root:x:0:\nmail:x:12:root,mail\n", "root/etc/lines": "one\ntwo\n\nlast", "outside/secret": "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"up": "../../../../../../../../../../../" + w.outside, "abs": w.outside, "proc": "/proc/self/root",
		"etc/shells": "real-shells", "dir": "/etc"} {
		if err := os.Symlink(target, filepath.Join(w.root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) run(t testing.TB, text string, args ...int) error {
	t.Helper()
	return Run(t.Context(), Options{Root: w.root, Output: &w.out, Now: now, Execute: func(_ context.Context, args []string) error {
		w.ran = append(w.ran, args)
		if args[0] == "/fails" {
			return fault.New(fault.Script, &sandbox.ExitError{Args: args, Code: 3}, "")
		}
		return nil
	}}, "%post", text, args, []string{"/opt"})
}

// TestScripts runs what packages run; each script checks itself.
func TestScripts(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"arguments": `assert(arg[1] == "<lua>" and arg[2] == 1 and arg[3] == 2 and #arg == 3); assert(RPM_INSTALL_PREFIX[1] == "/opt")`,
		"bash": `nl = '\n'; sh = '/bin/sh'..nl; bash = '/bin/bash'..nl
			f = io.open('/etc/shells', 'a+')
			if f then
			  local shells = nl..f:read('*all')..nl
			  if not shells:find(nl..sh) then f:write(sh) end
			  if not shells:find(nl..bash) then f:write(bash) end
			  f:close()
			end
			f = io.open('/etc/real-shells'); assert(f:read('*a') == sh..bash); f:close()`,
		"reading": `local f = io.open('/etc/lines'); assert(f:read() == 'one'); assert(f:read(1) == 't'); assert(f:read('*l', '*l') == 'wo')
			assert(f:read('*a') == 'last' and f:read('*l') == nil and f:read('*a') == ''); f:close()
			local n = 0; for l in io.lines('/etc/lines') do n = n + #l end; assert(n == 10)
			local g = io.open('/etc/lines'); local m = 0; for l in g:lines() do m = m + 1 end; assert(m == 4); g:close()
			assert(io.type(g) == 'closed file' and io.type(io.stdout) == 'file' and io.type(1) == nil)`,
		"seeking": `local f = io.open('/tmp/f', 'w+'); f:write('hello', ' ', 1); assert(f:seek('set', 1) == 1); assert(f:read(2) == 'el'); f:write('P'); f:close()
			f = io.open('/tmp/f', 'rb'); assert(f:read('*a') == 'helPo 1'); assert(f:seek('end') == 7); f:close()`,
		"absent": `local f, text, n = io.open('/nothing'); assert(f == nil and text == '/nothing: No such file or directory' and n == 2)
			local st, text, n = posix.stat('/nothing'); assert(st == nil and n == 2); local t, e = posix.errno(); assert(e == 2)`,
		"folders": `assert(posix.mkdir('/tmp/d') == 0); assert(posix.chdir('/tmp/d') == 0); assert(posix.getcwd() == '/tmp/d')
			io.open('x', 'w'):close(); posix.symlink('x', 'y'); assert(posix.readlink('y') == 'x'); posix.link('x', 'z'); assert(posix.stat('z').nlink == 2)
			local all = posix.dir('.'); assert(table.concat(all, ' ') == '. .. x y z')
			assert(os.rename('z', '../moved')); assert(posix.access('/tmp/moved', 'r') == 0); assert(posix.access('/tmp/moved', 'x') == nil)
			os.remove('x'); posix.unlink('y'); posix.chdir('/'); assert(posix.rmdir('/tmp/d') == 0); assert(os.remove('/tmp/moved'))
			local n = 0; for f in posix.files('/etc') do n = n + 1 end; assert(n == 6)`,
		"modes": `io.open('/tmp/m', 'w'):close(); assert(posix.stat('/tmp/m', 'mode') == 'rw-r--r--'); posix.chmod('/tmp/m', '0750')
			assert(posix.stat('/tmp/m').mode == 'rwxr-x---'); posix.chmod('/tmp/m', 'g-x,o+r,u+s'); assert(posix.stat('/tmp/m', 'mode') == 'rwsr--r--')
			posix.chmod('/tmp/m', 'rw-------'); assert(posix.stat('/tmp/m', 'mode') == 'rw-------'); assert(posix.umask() == 'rwxr-xr-x')
			posix.umask('077'); assert(posix.umask() == '---rwxrwx')`,
		"owners": `local p = posix.getpasswd('mail'); assert(p.uid == 8 and p.gid == 12 and p.dir == '/var' and posix.getpasswd(0, 'shell') == '/bin/sh')
			assert(posix.getgroup('mail').gid == 12 and posix.getgroup(12)[2] == 'mail' and posix.getpasswd('nobody') == nil)
			io.open('/tmp/o', 'w'):close(); posix.chown('/tmp/o', 'mail', 'mail'); assert(posix.stat('/tmp/o', 'uid') == 8 and posix.stat('/tmp/o').gid == 12)
			posix.utime('/tmp/o', 1000, 2000); assert(posix.stat('/tmp/o').mtime == 1000)`,
		"programs": `assert(os.execute('true') == 0); assert(rpm.execute('/fails', 'a') == 768)`,
		"clock":    `assert(os.time() == 1600000000); assert(os.date('%Y-%m-%d') == '2020-09-13'); assert(os.time{year=2020, month=1, day=1, hour=0} > 0)`,
		"versions": `assert(rpm.vercmp('1.0-2', '1.0-10') == -1 and rpm.vercmp('1', '1') == 0); assert(rpm.expand('100%%') == '100%')`,
		"glob":     `local g = rpm.glob('/etc/*s'); assert(#g == 2 and g[1] == '/etc/lines' and g[2] == '/etc/shells'); assert(rpm.glob('/x*')[1] == '/x*'); assert(#rpm.glob('/x*', 'c') == 0)`,
		"null":     `local f = io.open('/etc/null', 'w'); f:write('x'); f:close()`,
		"exit":     `print('said', 1); os.exit(0); error('not reached')`,
		"encoding": `assert(rpm.b64decode(rpm.b64encode('x\0y')) == 'x\0y')`,
		"nothing":  ``,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if name == "null" {
				if err := unix.Mknod(filepath.Join(w.root, "etc/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil { //nolint:gosec // small
					t.Skip(err)
				}
			}
			if err := w.run(t, text, 1, 2); err != nil {
				t.Error(err)
			}
			if name == "exit" && w.out.String() != "said\t1\n" {
				t.Errorf("said %q", &w.out)
			}
			if name == "programs" && len(w.ran) != 2 {
				t.Errorf("ran %q", w.ran)
			}
		})
	}
}

// TestConfined tries every way out of the tree.
func TestConfined(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/up/secret", "/abs/secret", "/../outside/secret", "../../outside/secret", "/a/b/../../../../outside/secret", "/proc/outside/secret"} {
		w := newWorld(t)
		script := strings.ReplaceAll(`
			local p = 'PATH'; local dir = p:match('^(.*)/')
			assert(io.open(p) == nil, 'read'); assert(posix.stat(p) == nil, 'stat'); assert(posix.access(p) == nil, 'access')
			for _, mode in ipairs{'r', 'r+', 'w', 'a', 'w+', 'a+'} do local f = io.open(p, mode); if f then f:write('changed'); f:close() end end
			os.remove(p); posix.unlink(p); os.rename(p, '/stolen'); os.rename('/etc/lines', p); posix.chmod(p, '0777'); posix.chown(p, 8, 8); posix.utime(p, 1, 1)
			posix.link(p, '/linked'); posix.mkdir(dir .. '/made'); posix.mkfifo(dir .. '/fifo'); posix.symlink('/x', dir .. '/symlink'); posix.rmdir(dir)
			pcall(posix.dir, dir); rpm.glob(dir .. '/*'); posix.chdir(dir); io.open('relative', 'w'); posix.mkdir('made')
			local ok, lines = pcall(io.lines, p)
			for _, name in ipairs{'/linked', '/stolen'} do local f = io.open(name); assert(f == nil or f:read('*a') ~= 'secret', name) end`, "PATH", path)
		if err := w.run(t, script); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		all, err := os.ReadDir(w.outside)
		text, _ := os.ReadFile(filepath.Join(w.outside, "secret"))
		st, stErr := os.Stat(filepath.Join(w.outside, "secret"))
		if err != nil || stErr != nil || len(all) != 1 || string(text) != "secret" || st.Mode() != 0o644 || st.ModTime().Unix() == 1 {
			t.Errorf("%s: outside are %v, the secret is %q, %v (%v)", path, all, text, st, err)
		}
	}
	for _, name := range []string{"dofile", "loadfile", "require", "module", "debug", "package", "io.popen", "io.tmpfile", "os.execute2"} {
		w := newWorld(t)
		if err := w.run(t, "assert("+name+" == nil)"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRefused gives what scripts do wrong, or cannot do, and what they are told.
func TestRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"error('broken')":                "broken",
		"x = = 1":                        "syntax error",
		"posix.fork()":                   "posix.fork is not supported",
		"rpm.expand('%{_libdir}')":       "macros are not known",
		"os.exit(4)":                     "exit code 4",
		"nothing.at.all()":               "attempt to index",
		"('x'):rep(2^30)":                "a string of more than",
		"io.open('/etc/lines'):read({})": "",
		"local f = io.open('/etc/lines'); f:close(); f:read()":               "closed file",
		"for i = 1, 100 do f = io.open('/etc/lines'); assert(f, 'many') end": "many",
		"io.open('/etc', 'w'):write('x')":                                    "attempt to index",
	} {
		w := newWorld(t)
		err := w.run(t, text)
		if want != "" && (fault.KindOf(err) != fault.Script || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// What would take all memory, within one step.
	for _, text := range []string{
		"local s = ('x'):rep(2^24); while true do s = s .. s .. s .. s end",
		"local s = ('x'):rep(2^24); local t = {}; for i = 1, 999 do t[i] = s end; table.concat(t)",
	} {
		if err := newWorld(t).run(t, text); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "512 MiB of memory") {
			t.Errorf("%s: %v", text, err)
		}
	}
	// Something that never ends, or within no reasonable time.
	for _, text := range []string{"while true do end", "local s = ('a'):rep(2^16); s:gsub('a', s)"} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if err := Run(ctx, Options{Root: newWorld(t).root, Now: now}, "%post", text, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an endless script: %v", err)
		}
		cancel()
	}
}

// TestDevices: what is no regular file is not opened.
func TestDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := unix.Mkfifo(filepath.Join(w.root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.run(t, `local f, text = io.open('/fifo'); assert(f == nil and text:find('Permission denied'))`); err != nil {
		t.Error(err)
	}
	if err := unix.Mknod(filepath.Join(w.root, "zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil { //nolint:gosec // small
		t.Skip(err)
	}
	if err := w.run(t, `assert(io.open('/zero') == nil and io.open('/zero', 'w') == nil)`); err != nil {
		t.Error(err)
	}
}

// FuzzPaths: no name of a file leads out of the tree, whatever is done with it.
func FuzzPaths(f *testing.F) {
	for _, p := range []string{"/etc/lines", "../outside/secret", "/up/secret", "a//b/./../..//x", "", "/", "abs", "dir/lines", "proc/cwd/x"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, name string) {
		w := newWorld(t)
		before, err := os.Stat(w.outside)
		if err != nil {
			t.Fatal(err)
		}
		script := `local p = ...; p = NAME
			posix.mkdir(p); posix.rmdir(p); posix.symlink('x', p); os.remove(p); posix.stat(p); posix.readlink(p); rpm.glob(p .. '*')
			local f = io.open(p, 'w'); if f then f:write('x'); f:close() end
			posix.chmod(p, '0600'); posix.utime(p, 5, 5); os.rename(p, '/tmp/r'); os.rename('/tmp/r', p); posix.chdir(p); io.open('here', 'w')`
		quoted := &strings.Builder{}
		quoted.WriteByte('"')
		for i := range len(name) {
			quoted.WriteString("\\" + string([]byte{'0' + name[i]/100, '0' + name[i]/10%10, '0' + name[i]%10}))
		}
		quoted.WriteByte('"')
		if err := w.run(t, strings.Replace(script, "NAME", quoted.String(), 1)); err != nil && fault.KindOf(err) != fault.Script {
			t.Error(err)
		}
		after, err := os.Stat(w.outside)
		text, _ := os.ReadFile(filepath.Join(w.outside, "secret"))
		if err != nil || !after.ModTime().Equal(before.ModTime()) || string(text) != "secret" || after.Mode() != before.Mode() {
			t.Errorf("%q changed what is outside: %q, %v", name, text, err)
		}
	})
}
