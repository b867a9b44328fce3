package volume

import (
	"context"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// system is a small tree with what a filter is to find, and what it is to spare.
var system = map[string]string{
	"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n", "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
	".hidden": "kept, though rsync VOLUME/* leaves it", "boot/vmlinuz": "kernel", "lib/modules/6.1.0-1/modules.dep": "",
	"etc/ssh/ssh_host_rsa_key": "secret", "etc/ssh/sshd_config": "", "root/.ssh/authorized_keys": "ssh-rsa", "root/.ssh/config": "", "root/.bash_history": "ls",
	"root/.zsh_history": "ls", "root/id_ed25519": "secret", "home/u/mail.pem": "secret", "home/u/notes~": "", "home/u/.#notes": "", "home/u/keep.pem": "asked for",
	"etc/ssl/certs/ca.pem": "authorities", "usr/share/keyrings/archive.gpg": "keys", "etc/ssl/private/snakeoil.key": "secret", "var/lib/cloud/instance/x": "state",
	"tmp/scratch": "", "run/lock": "", "mnt/disk/file": "", "dev/sda": "no device", "proc/1": "", "home/u/cache/big": "excluded",
}

func makeTree(t *testing.T, files ...map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for _, m := range files {
		for name, text := range m {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

func options(t *testing.T, source string) Options {
	t.Helper()
	return Options{Source: source, Image: filepath.Join(t.TempDir(), "image"), Size: 64 << 20, Arch: "x86_64", Partition: None, Now: now}
}

// contents returns the regular files of an image, and its device nodes.
func contents(t *testing.T, image string) (files map[string]string, nodes []string) {
	t.Helper()
	src, c, err := disk.OpenRoot(image)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	files = map[string]string{}
	err = src.Walk(context.Background(), func(e tree.Entry) error {
		switch e.Mode & unix.S_IFMT {
		case unix.S_IFCHR:
			nodes = append(nodes, e.Path)
		case unix.S_IFREG:
			f, err := src.Open(e.Path)
			if err != nil {
				return err
			}
			defer f.Close()
			text, err := io.ReadAll(f)
			files[e.Path] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, nodes
}

func TestSelection(t *testing.T) {
	t.Parallel()
	root := makeTree(t, system)
	o := options(t, root)
	o.Exclude, o.Include = []string{"/home/u/cache"}, []string{"/home/u/keep.pem"}
	made, err := Make(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	files, nodes := contents(t, o.Image)
	want := []string{".hidden", "boot/vmlinuz", "etc/fstab", "etc/machine-id", "etc/passwd", "etc/ssh/sshd_config", "etc/ssl/certs/ca.pem", "home/u/keep.pem",
		"lib/modules/6.1.0-1/modules.dep", "root/.ssh/config", "usr/share/keyrings/archive.gpg"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Error(diff)
	}
	if files["etc/machine-id"] != "" || files["etc/passwd"] != system["etc/passwd"] {
		t.Errorf("%q", files)
	}
	if diff := cmp.Diff([]string{"dev/console", "dev/null", "dev/tty", "dev/zero"}, nodes); diff != "" {
		t.Error(diff)
	}
	if made.Filtered < 8 || made.Partition != None || made.Profile != "modern" || len(made.Unsteady) != 0 || !slices.Contains(made.LeftOut, "/proc") {
		t.Errorf("%+v", made)
	}
	out, err := exec.Command("/sbin/e2fsck", "-fn", o.Image).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	o = options(t, root)
	o.Unfiltered = true
	if _, err := Make(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	files, _ = contents(t, o.Image)
	for _, name := range []string{"etc/ssh/ssh_host_rsa_key", "home/u/mail.pem", "tmp/scratch", "etc/machine-id"} {
		if files[name] != system[name] {
			t.Errorf("%s is not taken over unfiltered", name)
		}
	}
	if _, ok := files["proc/1"]; ok {
		t.Error("/proc has content")
	}
}

// A device or an image is read as a tree is, and keeps its filesystem's identity.
func TestImageAsSource(t *testing.T) {
	t.Parallel()
	first := options(t, makeTree(t, system))
	first.Partition, first.LeaveBoot = GPT, true
	made, err := Make(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	second := options(t, first.Image)
	second.Partition = Auto
	second.LeaveBoot = true
	again, err := Make(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if again.UUID != made.UUID || again.Label != made.Label || again.Partition != GPT {
		t.Errorf("%+v became %+v", made, again)
	}
	a, _ := contents(t, first.Image)
	b, _ := contents(t, second.Image)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
}

func TestFstab(t *testing.T) {
	t.Parallel()
	old := map[string]string{"etc/fstab": "LABEL=elsewhere / xfs defaults 0 0\n", "etc/passwd": ""}
	root := makeTree(t, old)
	for name, c := range map[string]struct {
		edit func(*Options)
		kind fault.Kind
		text string
	}{
		"another filesystem": {func(*Options) {}, fault.Input, "/ is xfs"},
		"another label":      {func(o *Options) { o.Fstab = []byte("LABEL=x / ext4 defaults 0 1\n") }, fault.Input, `the label "x"`},
		"another UUID": {func(o *Options) {
			o.Fstab = []byte("UUID=00000000-0000-4000-8000-000000000000 / auto defaults 0 1\n")
		}, fault.Input, "the filesystem 00000000"},
		"a partition": {func(o *Options) { o.Fstab = []byte("PARTUUID=1 / ext4 defaults 0 1\n") }, fault.Input, "by its partition"},
		"both":        {func(o *Options) { o.Fstab, o.GenerateFstab = []byte(""), true }, fault.Usage, "another one"},
	} {
		o := options(t, root)
		c.edit(&o)
		if _, err := Make(t.Context(), o); fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(filepath.Dir(o.Image)); err != nil || len(left) != 0 {
			t.Errorf("%s leaves %v (%v)", name, left, err)
		}
	}
	o := options(t, root)
	o.GenerateFstab = true
	made, err := Make(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := contents(t, o.Image)
	if !strings.Contains(files["etc/fstab"], "UUID="+made.UUID+"\t/\text4") || files["etc/fstab.old"] != old["etc/fstab"] {
		t.Errorf("%q", files)
	}
	o = options(t, root)
	o.Fstab = []byte("/dev/xvda1 / ext4 defaults 0 1\n")
	if _, err := Make(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if files, _ = contents(t, o.Image); files["etc/fstab"] != string(o.Fstab) {
		t.Errorf("%q", files)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	root := makeTree(t, system)
	for name, c := range map[string]struct {
		edit func(*Options)
		kind fault.Kind
		text string
	}{
		"an exclusion of nothing": {func(o *Options) { o.Exclude = []string{"/mtn"} }, fault.Usage, "/mtn stands for nothing"},
		"an inclusion of nothing": {func(o *Options) { o.Include = []string{"/home/u/kept.pem"} }, fault.Usage, "stands for nothing"},
		"a pattern":               {func(o *Options) { o.Exclude = []string{"["} }, fault.Usage, "pattern"},
		"a partition kind":        {func(o *Options) { o.Partition = "bsd" }, fault.Usage, "bsd"},
		"no boot loader":          {func(o *Options) { o.Partition = GPT }, fault.Input, "no boot loader"},
		"no room":                 {func(o *Options) { o.Size = 1 << 20 }, fault.Space, "too small"},
		"no size":                 {func(o *Options) { o.Size = 0 }, fault.Usage, "0 bytes"},
		"no source":               {func(o *Options) { o.Source += "/none" }, fault.Missing, "none"},
		"no filesystem":           {func(o *Options) { o.Source += "/etc/passwd" }, fault.Input, "passwd"},
	} {
		o := options(t, root)
		c.edit(&o)
		if _, err := Make(t.Context(), o); fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v (%v)", name, err, fault.KindOf(err))
		}
		if left, err := os.ReadDir(filepath.Dir(o.Image)); err != nil || len(left) != 0 {
			t.Errorf("%s leaves %v (%v)", name, left, err)
		}
	}
}

// The image may come into being below the tree, and what changes meanwhile is told.
func TestRunningSystem(t *testing.T) {
	t.Parallel()
	root := makeTree(t, system, map[string]string{"var/log/big": strings.Repeat("log\n", 100_000)})
	o := options(t, root)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	for _, o.Image = range []string{filepath.Join(root, "home", "image"), filepath.Join(link, "home", "image")} {
		for _, o.Source = range []string{root, root, link} {
			if _, err := Make(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if files, _ := contents(t, o.Image); files["home/image"] != "" {
				t.Errorf("the image %s of %s is in the image", o.Image, o.Source)
			}
		}
	}
	src, err := open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	e := &edited{Source: src, texts: map[string][]byte{}}
	if err := os.Truncate(filepath.Join(root, "var/log/big"), 5); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"var/log/big": "log\nl\x00\x00\x00", "gone": "\x00\x00\x00\x00\x00\x00\x00\x00", "etc/passwd": "root:x:0"} {
		f, err := e.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 8)
		if _, err := f.ReadAt(got, 0); err != nil || string(got) != want {
			t.Errorf("%s reads as %q (%v)", name, got, err)
		}
		f.Close()
	}
	if diff := cmp.Diff([]string{"/gone", "/var/log/big"}, e.changed()); diff != "" {
		t.Error(diff)
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mountinfo")
	text := "22 1 202:1 / / rw,relatime shared:1 - ext4 /dev/xvda1 rw\n23 22 0:21 / /proc rw - proc proc rw\n" +
		"24 22 202:16 / /srv/my\\040data rw shared:2 - xfs /dev/xvdb rw\n25 22 0:30 / /home rw - nfs4 server:/home rw\nnonsense\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string][]mount{
		"/":    {{"202:1", "/", "ext4"}, {"0:21", "/proc", "proc"}, {"202:16", "/srv/my data", "xfs"}, {"0:30", "/home", "nfs4"}},
		"/srv": {{"202:16", "/srv/my data", "xfs"}},
		"/sr":  nil,
	} {
		got, err := readMounts(path, dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" {
			t.Errorf("%s: %s", dir, diff)
		}
	}
	all, err := readMounts(path, "/")
	if err != nil {
		t.Fatal(err)
	}
	src := &source{dir: "/", mounts: all}
	for everything, want := range map[bool][]string{false: {"dev", "home", "media", "mnt", "proc", "run", "sys"}, true: {"dev", "media", "mnt", "proc", "run", "sys"}} {
		s, err := newSelection(src, &Options{All: everything})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(s.empty))); diff != "" {
			t.Errorf("all=%v: %s", everything, diff)
		}
	}
}
