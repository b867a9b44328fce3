package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/sandbox"
)

// tools are the host's programs that the test tree is made of.
var tools = []string{"sh", "cat", "chown", "id", "ls", "mkdir", "mknod", "mount", "ps", "readlink", "setsid", "sleep",
	"stat", "su", "touch", "true", "tty", "umount", "uname"}

// programs are the files of the test tree, by their paths below its root and on the host: tools and the
// libraries that they need.
var programs = sync.OnceValues(func() (map[string]string, error) {
	all := make(map[string]string)
	for _, name := range tools {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		all["usr/bin/"+name] = path
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			return nil, fmt.Errorf("ldd %s: %w", path, err)
		}
		for _, word := range strings.Fields(string(out)) {
			if filepath.IsAbs(word) {
				all[word[1:]] = word
			}
		}
	}
	return all, nil
})

// newTree returns a tree with a few programs of the host.
func newTree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"usr/bin", "usr/sbin", "etc", "root"} {
		mkdir(t, filepath.Join(root, dir))
	}
	for _, link := range []string{"bin", "sbin"} {
		must(t, os.Symlink("usr/"+link, filepath.Join(root, link)))
	}
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644))
	files, err := programs()
	if err != nil {
		t.Skipf("the host lacks a program that these tests use: %v", err)
	}
	for to, from := range files {
		mkdir(t, filepath.Dir(filepath.Join(root, to)))
		copyFile(t, from, filepath.Join(root, to))
	}
	return root
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

func mkdir(t testing.TB, name string) {
	t.Helper()
	must(t, os.MkdirAll(name, 0o755))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, data, 0o755))
}

// box is an open sandbox with a shorter way to run things.
type box struct {
	*sandbox.Sandbox
	t    *testing.T
	root string
}

func open(t *testing.T, c sandbox.Config) *box {
	t.Helper()
	if c.Root == "" {
		c.Root = newTree(t)
	}
	s, err := sandbox.Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &box{s, t, c.Root}
}

// sh runs a script and returns what it printed.
func (b *box) sh(script string) (string, error) {
	var out bytes.Buffer
	err := b.Run(b.t.Context(), sandbox.Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	return strings.TrimSpace(out.String()), err
}

func (b *box) want(script, want string) {
	b.t.Helper()
	got, err := b.sh(script)
	if err != nil || got != want {
		b.t.Errorf("%s\n got: %q, %v\nwant: %q", script, got, err, want)
	}
}

// names returns every path below root, with its times.
func names(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	must(t, filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile, by a sandbox that ends
			return nil
		}
		if err == nil {
			all = append(all, fmt.Sprintf("%s %s %s", path, info.Mode(), info.ModTime()))
		}
		return err
	}))
	return all
}

func TestSurroundings(t *testing.T) {
	t.Setenv("SECRET", "of the host")
	b := open(t, sandbox.Config{Env: []string{"FROM=config"}, Hostname: "forge"})
	for _, c := range []struct{ script, want string }{
		{"id -u; id -g; id -G", "0\n0\n0"},
		{"pwd; umask; echo $HOME $LC_ALL $TERM $FROM; echo ${SECRET-none}", "/\n0022\n/root C.UTF-8 dumb config\nnone"},
		{"uname -n", "forge"},
		{"ulimit -c; ulimit -n", "0\n1024"},
		{"for d in boot home mnt opt tree srv var; do [ ! -e /$d ] || echo $d; done", ""},
		{"ls /dev", "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"},
		{"ls /tmp; ls /run; stat -c %a /tmp /run /run/lock /dev/shm", "lock\n1777\n755\n1777\n1777"},
		{"echo x >/dev/null; echo to stderr 2>&1 >/dev/stderr", "to stderr"},
		{"ls /proc/self/fd >/tmp/fds; cat /tmp/fds", "0\n1\n2\n3"}, // 3 is ls's own
		{"for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || echo $p; done", "/proc/1"},
		{"tty", "not a tty"},
		{"touch /sys/x 2>/dev/null || echo ro; echo x 2>/dev/null >/proc/sys/kernel/core_pattern || echo ro", "ro\nro"},
		{"mount -t tmpfs x /root 2>/dev/null || echo no; umount /proc 2>/dev/null || echo no; mknod /root/d b 8 0 2>/dev/null || echo no", "no\nno\nno"},
		{"/usr/sbin/policy-rc.d ssh start; echo $?", "101"},
		{"cat /proc/self/status | while read k v; do case $k in NoNewPrivs:) echo $v;; esac; done", "0"},
		{"[ $(stat -Lc %i /proc/1/root) != $(stat -c %i /) ] && echo a chroot", "a chroot"},
		{"cat /proc/net/dev | while read name rest; do case $name in *:) echo $name;; esac; done", "lo:"},
	} {
		got, err := b.sh(c.script)
		if got != c.want {
			t.Errorf("%s\n got: %q, %v\nwant: %q", c.script, got, err, c.want)
		}
	}
}

func TestLeavesNoTrace(t *testing.T) {
	root := newTree(t)
	old := time.Unix(1e9, 0)
	for _, dir := range []string{"", "usr/sbin", "etc"} {
		must(t, os.Chtimes(filepath.Join(root, dir), old, old))
	}
	before := names(t, root)
	bind := filepath.Join(t.TempDir(), "cache")
	mkdir(t, bind)
	s, err := sandbox.Open(t.Context(), sandbox.Config{Root: root, Network: true,
		Binds: []sandbox.Bind{{Source: bind, Target: "/var/cache/deep"}, {Source: "/etc/hostname", Target: "/etc/name", ReadOnly: true}}})
	must(t, err)
	b := &box{s, t, root}
	b.want("echo x >/var/cache/deep/f; cat /etc/name >/dev/null; echo y 2>/dev/null >/etc/name || echo ro; echo z >/tmp/f; echo z >/run/f", "ro")
	host, _ := os.ReadFile("/etc/resolv.conf")
	b.want("cat /etc/resolv.conf", strings.TrimSpace(string(host)))
	must(t, s.Close())
	if after := names(t, root); !slices.Equal(before, after) {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if got, _ := os.ReadFile(filepath.Join(bind, "f")); string(got) != "x\n" {
		t.Errorf("the bound directory holds %q", got)
	}
}

func TestReadOnly(t *testing.T) {
	root, bind := newTree(t), t.TempDir()
	mkdir(t, filepath.Join(root, "work"))
	must(t, os.Chmod(filepath.Join(root, "usr/bin/id"), 0o4755))
	must(t, os.Chown(bind, 1000, 1000))
	b := open(t, sandbox.Config{Root: root, ReadOnly: true, Binds: []sandbox.Bind{{Source: bind, Target: "/work"}}})
	b.want("touch /x 2>/dev/null || echo ro; touch /etc/x 2>/dev/null || echo ro; touch /work/x /tmp/x /run/x", "ro\nro")
	var out bytes.Buffer
	must(t, b.Run(t.Context(), sandbox.Command{Args: []string{"id", "-u"}, UID: 1000, GID: 1000, Stdout: &out}))
	if out.String() != "1000\n" {
		t.Errorf("with a set-user-ID program, user 1000 becomes %s", out.String())
	}
}

// What a package has put where Open had made a mount point stays.
func TestKeepsWhatPackagesBring(t *testing.T) {
	root := newTree(t)
	must(t, os.RemoveAll(filepath.Join(root, "usr/sbin")))
	b := open(t, sandbox.Config{Root: root})
	time.Sleep(20 * time.Millisecond) // longer than a tick of the clock that files are dated by
	must(t, os.Chmod(filepath.Join(root, "proc"), 0o555))
	mkdir(t, filepath.Join(root, "run/shipped"))
	mkdir(t, filepath.Join(root, "usr/sbin"))
	b.want("/usr/sbin/policy-rc.d; echo $?; ls /run", "101\nlock") // the policy follows the directory
	must(t, b.Close())
	for name, want := range map[string]bool{"proc": true, "run/shipped": true, "sys": false, "dev": false, "usr/sbin": true, "usr/sbin/policy-rc.d": false} {
		if got := exists(filepath.Join(root, name)); got != want {
			t.Errorf("after Close: %s exists = %v, want %v", name, got, want)
		}
	}
}

func TestOwnPolicyIsCovered(t *testing.T) {
	root := newTree(t)
	own := filepath.Join(root, "usr/sbin/policy-rc.d")
	must(t, os.WriteFile(own, []byte("#!/bin/sh\nexit 0\n"), 0o755))
	b := open(t, sandbox.Config{Root: root})
	b.want("/usr/sbin/policy-rc.d; echo $?", "101")
	must(t, b.Close())
	if got, _ := os.ReadFile(own); string(got) != "#!/bin/sh\nexit 0\n" {
		t.Errorf("the tree's own policy is now %q", got)
	}
}

// A crash that even the sandbox's first process did not survive leaves the policy behind; the next one takes it
// for what it is.
func TestTakesOverPolicy(t *testing.T) {
	root := newTree(t)
	before := names(t, filepath.Join(root, "usr/bin"))
	policy := filepath.Join(root, "usr/sbin/policy-rc.d")
	first := open(t, sandbox.Config{Root: root})
	content, err := os.ReadFile(policy)
	must(t, err)
	must(t, first.Close())
	must(t, os.WriteFile(policy, content, 0o755))
	must(t, open(t, sandbox.Config{Root: root}).Close())
	if exists(policy) {
		t.Error("the policy was left in the tree")
	}
	if after := names(t, filepath.Join(root, "usr/bin")); !slices.Equal(before, after) {
		t.Error("other files were changed")
	}
}

func TestOwners(t *testing.T) {
	b := open(t, sandbox.Config{})
	b.want("touch /root/f && chown 1234:60000 /root/f && stat -c '%u %g' /root/f", "1234 60000")
	info, err := os.Stat(filepath.Join(b.root, "root/f"))
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 60000 {
		t.Errorf("outside, the file belongs to %d:%d", st.Uid, st.Gid)
	}
	var out bytes.Buffer
	must(t, b.Run(t.Context(), sandbox.Command{Args: []string{"sh", "-c", "id -u; id -g; id -G; pwd; cat"}, UID: 65534, GID: 100,
		Dir: "/usr", Stdin: strings.NewReader("words"), Stdout: &out}))
	if got, want := out.String(), "65534\n100\n100\n/usr\nwords"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFailures(t *testing.T) {
	b := open(t, sandbox.Config{})
	_, err := b.sh("exit 3")
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || fault.KindOf(err) != fault.Script {
		t.Errorf("exit 3: %v (%s)", err, fault.KindOf(err))
	}
	_, err = b.sh("kill -TERM $$")
	if !errors.As(err, &exit) || exit.Signal != int(syscall.SIGTERM) {
		t.Errorf("SIGTERM: %v", err)
	}
	err = b.Run(t.Context(), sandbox.Command{Args: []string{"no-such-program"}})
	if !errors.Is(err, os.ErrNotExist) || fault.KindOf(err) != fault.Script {
		t.Errorf("missing program: %v (%s)", err, fault.KindOf(err))
	}
	start := time.Now()
	err = b.Run(t.Context(), sandbox.Command{Args: []string{"sh", "-c", "sleep 100 & sleep 100"}, Timeout: 100 * time.Millisecond})
	if !errors.As(err, &exit) || !exit.TimedOut || time.Since(start) > 5*time.Second {
		t.Errorf("timeout: %v after %s", err, time.Since(start))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Run(ctx, sandbox.Command{Args: []string{"sleep", "100"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
	b.want("echo still here", "still here")
	must(t, b.Close())
	if _, err := b.sh("true"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A daemon does not survive its command, and does not hold it up.
func TestDaemonsDie(t *testing.T) {
	b := open(t, sandbox.Config{})
	start := time.Now()
	b.want("setsid sh -c 'sleep 1000 & setsid sleep 1000 &' & echo started", "started")
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the command took %s", d)
	}
	b.want("for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || echo $p; done", "/proc/1")
}

// Two sandboxes on one tree do not take each other's mount points away.
func TestTwoOnOneTree(t *testing.T) {
	root := newTree(t)
	before := names(t, root)
	bind := []sandbox.Bind{{Source: "/etc", Target: "/var/first"}}
	offline := open(t, sandbox.Config{Root: root, Binds: bind})
	bind = []sandbox.Bind{{Source: "/etc", Target: "/var/second"}}
	online := open(t, sandbox.Config{Root: root, Network: true, Env: []string{"TERM=vt100"}, Binds: bind})
	online.want("echo $TERM; /usr/sbin/policy-rc.d; echo $?", "vt100\n101")
	must(t, online.Close())
	offline.want("/usr/sbin/policy-rc.d; echo $?; ls /dev/null", "101\n/dev/null")
	must(t, offline.Close())
	if after := names(t, root); !slices.Equal(before, after) {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

func TestManyAtOnce(t *testing.T) {
	b := open(t, sandbox.Config{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				want := fmt.Sprintf("%d %d", i, j)
				if got, err := b.sh("sleep 0.01; echo " + want + " >/tmp/" + fmt.Sprint(i) + "; cat /tmp/" + fmt.Sprint(i)); got != want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			}
		})
	}
	wg.Wait()
	b.want("ls /tmp", "0\n1\n2\n3\n4\n5\n6\n7") // one /tmp for all
}

func TestSpeed(t *testing.T) {
	root := newTree(t)
	start := time.Now()
	b := open(t, sandbox.Config{Root: root})
	opened := time.Since(start)
	const n = 300
	start = time.Now()
	for range n {
		must(t, b.Run(t.Context(), sandbox.Command{Args: []string{"true"}}))
	}
	t.Logf("Open %s, each `true` %s", opened, time.Since(start)/n)
}
