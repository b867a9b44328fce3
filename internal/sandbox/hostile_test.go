package sandbox_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/sandbox"
)

// A tree whose names lead outside makes nothing be mounted, made or changed there.
func TestHostileTrees(t *testing.T) {
	for _, c := range []struct {
		name   string
		link   string // in the tree
		config sandbox.Config
		refuse bool
	}{
		{name: "proc", link: "proc", refuse: true},
		{name: "sys", link: "sys", refuse: true},
		{name: "dev", link: "dev", refuse: true},
		{name: "run", link: "run", refuse: true},
		{name: "tmp", link: "tmp", refuse: true},
		{name: "policy directory", link: "usr/sbin"},
		{name: "policy", link: "usr/sbin/policy-rc.d", refuse: true},
		{name: "resolver", link: "etc/resolv.conf", config: sandbox.Config{Network: true}},
		{name: "etc", link: "etc", config: sandbox.Config{Network: true}, refuse: true},
		{name: "bind", link: "var", config: sandbox.Config{Binds: []sandbox.Bind{{Source: "/etc", Target: "/var/x"}}}, refuse: true},
	} {
		for _, style := range []string{"absolute", "dots"} {
			t.Run(c.name+" "+style, func(t *testing.T) {
				t.Parallel()
				root, outside := newTree(t), t.TempDir()
				must(t, os.WriteFile(filepath.Join(outside, "file"), []byte("precious"), 0o644))
				link := filepath.Join(root, c.link)
				must(t, os.RemoveAll(link))
				target := outside
				if style == "dots" {
					target = strings.Repeat("../", 20) + outside[1:]
				}
				must(t, os.Symlink(target, link))
				before, beforeTree := names(t, outside), names(t, root)
				c.config.Root = root
				s, err := sandbox.Open(t.Context(), c.config)
				if c.refuse != (err != nil) {
					t.Errorf("Open: %v, refused = %v", err, c.refuse)
				}
				if err == nil {
					b := &box{s, t, root}
					b.want("echo inside; [ ! -h /etc/resolv.conf ] || cat /etc/resolv.conf >/tmp/r", "inside")
					must(t, s.Close())
				}
				if after := names(t, outside); !slices.Equal(before, after) {
					t.Errorf("outside, there is now %q", after)
				}
				if after := names(t, root); !slices.Equal(beforeTree, after) {
					t.Errorf("the tree before:\n%s\nafter:\n%s", strings.Join(beforeTree, "\n"), strings.Join(after, "\n"))
				}
			})
		}
	}
}

func TestRootIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if _, err := sandbox.Open(t.Context(), sandbox.Config{Root: file}); err == nil {
		t.Error("a file was opened as a tree")
	}
	_, err := sandbox.Open(t.Context(), sandbox.Config{Root: file + "x"})
	if fault.KindOf(err) != fault.Missing {
		t.Errorf("a missing tree: %v", err)
	}
}

// Who breaks out of the chroot finds an empty directory, and no way to the host's settings.
func TestEscape(t *testing.T) {
	binary, err := os.Executable()
	must(t, err)
	b := open(t, sandbox.Config{Binds: []sandbox.Bind{{Source: binary, Target: "/probe", ReadOnly: true}}})
	var out bytes.Buffer
	err = b.Run(t.Context(), sandbox.Command{Args: []string{"/probe"}, Env: []string{partVar + "=escape"}, Stdout: &out, Stderr: &out})
	want := "[/proc /tree]\nas root mounting: operation not permitted\nas root of a namespace of its own mounting: <nil>\n"
	if got := out.String(); err != nil || got != want {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}
