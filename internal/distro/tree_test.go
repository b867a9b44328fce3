package distro

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// lay makes a small tree.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func text(s string) *string { return &s }

func TestWriteFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners need root")
	}
	root := lay(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/false\n",
		"etc/group":  "root:x:0:\nadm:x:4:\n",
		"etc/old":    "old",
	})
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Symlink(outside, filepath.Join(root, "etc/trap")); err != nil {
		t.Fatal(err)
	}
	err := WriteFiles(root, []recipe.File{
		{Path: "/etc/old", Content: text("new")},
		{Path: "/srv/a/b", Content: text("x"), Mode: "2750", Owner: "web:adm"},
		{Path: "/srv/dir", Directory: true, Mode: "1777"},
		{Path: "/srv/link", Link: "/etc/old"},
		{Path: "/etc/trap", Content: text("caught")},
		{Path: "/srv/numbers", Content: text(""), Owner: "1234:5678"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		mode     fs.FileMode
		uid, gid uint32
	}{
		"etc/old":     {0o644, 0, 0},
		"srv/a/b":     {0o750 | fs.ModeSetgid, 33, 4},
		"srv/dir":     {0o777 | fs.ModeSticky | fs.ModeDir, 0, 0},
		"etc/trap":    {0o644, 0, 0},
		"srv/numbers": {0o644, 1234, 5678},
	} {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
			continue
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode() != want.mode || st.Uid != want.uid || st.Gid != want.gid {
			t.Errorf("%s: %v %d:%d, want %v %d:%d", name, info.Mode(), st.Uid, st.Gid, want.mode, want.uid, want.gid)
		}
	}
	if _, err := os.Lstat(outside); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a link in the tree led the writing outside")
	}
	err = WriteFiles(root, []recipe.File{{Path: "/x", Content: text(""), Owner: "nobody-here"}}, nil)
	if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "/x") {
		t.Errorf("an unknown owner: %v", err)
	}
}

func TestClean(t *testing.T) {
	root := lay(t, map[string]string{
		"etc/machine-id": "abc", "etc/ssh/ssh_host_rsa_key": "k", "etc/ssh/ssh_config": "keep",
		"var/lib/apt/lists/partial/x": "y", "var/log/dpkg.log": "z",
	})
	outside := lay(t, map[string]string{"keep": "me"})
	if err := os.Symlink(outside, filepath.Join(root, "var/tmp")); err != nil {
		t.Fatal(err)
	}
	err := Clean(root, []string{"/etc/machine-id=", "/etc/ssh/ssh_host_*", "/var/lib/apt/lists/*", "/var/log/dpkg.log", "/no/such", "/no/dir/*"})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := os.ReadFile(filepath.Join(root, "etc/machine-id")); err != nil || len(id) != 0 {
		t.Errorf("machine-id: %q %v", id, err)
	}
	for name, want := range map[string]bool{"etc/ssh/ssh_config": true, "etc/ssh/ssh_host_rsa_key": false, "var/lib/apt/lists": true, "var/lib/apt/lists/partial": false, "var/log/dpkg.log": false} {
		if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != want {
			t.Errorf("%s: there is %v, want %v", name, err == nil, want)
		}
	}
	if err := Clean(root, []string{"/var/tmp/*"}); err == nil {
		t.Error("a link to the outside was followed without an error")
	}
	if _, err := os.Lstat(filepath.Join(outside, "keep")); err != nil {
		t.Error("cleaning reached outside the tree")
	}
}

func TestPreset(t *testing.T) {
	root := lay(t, nil)
	const units = "etc/systemd/system/"
	for link, target := range map[string]string{
		units + "multi-user.target.wants/sshd.service":          "/usr/lib/systemd/system/sshd.service",
		units + "getty.target.wants/getty@tty2.service":         "/usr/lib/systemd/system/getty@.service",
		units + "getty.target.wants/getty@tty1.service":         "/usr/lib/systemd/system/getty@.service",
		units + "sysinit.target.requires/a-b.service":           "../a-b.service",
		units + "timers.target.wants/fstrim.timer":              "/usr/lib/systemd/system/fstrim.timer",
		units + "other.target.wants/sshd.service":               "/usr/lib/systemd/system/sshd.service",
		units + "dbus-org.freedesktop.network1.service":         "/usr/lib/systemd/system/systemd-networkd.service",
		units + "masked.service":                                "/dev/null",
		"usr/lib/systemd/system/sysinit.target.wants/x.service": "../x.service",
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writePreset(root, "/etc/systemd/system-preset/50-ec2.preset"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "etc/systemd/system-preset/50-ec2.preset"))
	const want = "enable a-b.service\nenable fstrim.timer\nenable getty@.service tty1\nenable getty@.service tty2\nenable sshd.service\n"
	if err != nil || string(got) != want {
		t.Errorf("%q %v, want %q", got, err, want)
	}
}

// A pipe in the place of a file or a folder holds nobody up.
func TestPipes(t *testing.T) {
	root := lay(t, map[string]string{"lib/modules/1/kernel/a.ko": "", "lib/modules/1/modules.dep": "kernel/a.ko:\n"})
	for _, name := range []string{"lib/modules/2", "lib/modules/1/modules.builtin", "etc/systemd/system/x.wants", "var/log", "boot/initrd"} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), syscall.Mkfifo(path, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if kernels, err := Kernels(root); err != nil || strings.Join(kernels, " ") != "1" {
		t.Errorf("%v, %v", kernels, err)
	}
	if units, err := enabled(root); err != nil || units != nil {
		t.Errorf("%v, %v", units, err)
	}
	_, err := HasModule(root, "a")
	for what, err := range map[string]error{"modules": err, "cleaning": Clean(root, []string{"/var/log/*"}), "initramfs": SettleInitramfs(root, "boot/initrd", time.Time{})} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
