package workshop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/tree"
	"ingot/internal/verify"
)

// here is a workshop whose machine is this one: its shell is ours, and nobody has to become root.
func here(t *testing.T) *Workshop {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\n[ \"$1\" = -n ] && shift\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Workshop{close: func() {}, run: func(ctx context.Context, command string, in io.Reader, out, errOut io.Writer) error {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		cmd.Stdout, cmd.Stderr = out, errOut
		if in != nil {
			stdin, err := cmd.StdinPipe() // as SSH has it: the command ends whether or not all was read
			if err != nil {
				return err
			}
			go func() { _, _ = io.Copy(stdin, in); stdin.Close() }()
		}
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return &verify.ExitError{Status: exit.ExitCode()}
		}
		return err
	}}
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPut(t *testing.T) {
	t.Parallel()
	w, from, to := here(t), t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.Symlink("program", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	files := []File{
		{To: to + "/it's a program", From: write(t, from+"/program", "text", 0o755)},
		{To: to + "/through a link", From: from + "/link"},
		{To: to + "/link", Link: "it's a program"},
	}
	var moved int64
	p := progress.New(func(e progress.Event) { moved = e.Done }).Begin("put", 0, progress.Bytes)
	if err := w.Put(t.Context(), files, p); err != nil {
		t.Fatal(err)
	}
	if moved != 8 {
		t.Errorf("%d bytes were counted", moved)
	}
	for _, name := range []string{"it's a program", "through a link", "link"} {
		text, err := os.ReadFile(filepath.Join(to, name))
		info, e := os.Stat(filepath.Join(to, name))
		if err != nil || e != nil || string(text) != "text" || info.Mode() != 0o755 {
			t.Errorf("%s: %q, %v, %v, %v", name, text, info, err, e)
		}
	}
	if target, err := os.Readlink(filepath.Join(to, "link")); err != nil || target != "it's a program" {
		t.Errorf("the link leads to %q, %v", target, err)
	}

	if err := w.Put(t.Context(), []File{{To: to + "/x", From: from + "/nothing"}}, nil); fault.KindOf(err) != fault.Missing {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := w.Put(t.Context(), []File{{To: to + "/x", From: from}}, nil); fault.KindOf(err) != fault.Input {
		t.Errorf("a folder: %v", err)
	}
	big := write(t, from+"/big", strings.Repeat("x", 1<<20), 0o644) // more than a pipe holds
	if err := w.Put(t.Context(), []File{{To: "/proc/nothing", From: big}}, nil); fault.KindOf(err) != fault.Host || !strings.Contains(err.Error(), "/proc/nothing") {
		t.Errorf("where nothing can be written: %v", err)
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	w, from, to := here(t), t.TempDir(), t.TempDir()
	const size = 64 << 20
	disk, err := os.Create(filepath.Join(from, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	for at, text := range map[int64]string{0: "first", size / 2: "middle"} {
		if _, err := disk.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(disk.Truncate(size), disk.Close()); err != nil {
		t.Fatal(err)
	}
	write(t, from+"/paper", "paper", 0o600)
	write(t, to+"/paper", "an older and longer one", 0o644)
	if err := w.Take(t.Context(), from, to, []string{"disk", "paper"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk", "paper"} {
		want, err := os.ReadFile(filepath.Join(from, name))
		got, e := os.ReadFile(filepath.Join(to, name))
		if err != nil || e != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is another one, with %d bytes: %v, %v", name, len(got), err, e)
		}
	}
	info, err := os.Stat(filepath.Join(to, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	if took := info.Sys().(*syscall.Stat_t).Blocks * 512; took > 1<<20 {
		t.Errorf("the holes take %d bytes", took)
	}

	if err := w.Take(t.Context(), from, to, []string{"nothing"}, nil); fault.KindOf(err) != fault.Host || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.Symlink("/etc/passwd", from+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := w.Take(t.Context(), from, to, []string{"link"}, nil); fault.KindOf(err) != fault.Input {
		t.Errorf("a link: %v", err)
	}
	if err := os.Symlink(t.TempDir()+"/outside", to+"/out"); err != nil {
		t.Fatal(err)
	}
	write(t, from+"/out", "x", 0o644)
	if err := w.Take(t.Context(), from, to, []string{"out"}, nil); err == nil {
		t.Error("it was written through a link that leads out of the folder")
	}
}

func TestFirstEntry(t *testing.T) {
	t.Parallel()
	const menu = `set linux_gfx_mode=
menuentry 'Linux' --class gnu {
	load_video
	linux	/boot/vmlinuz-2 root=UUID=x ro console=ttyS0
	echo	'Loading'
	initrd	/boot/ucode.img /boot/initrd-2
}
menuentry 'the older one' {
	linux	/boot/vmlinuz-1 root=UUID=x
	initrd	/boot/initrd-1
}
`
	got, err := firstEntry(menu)
	want := entry{"/boot/vmlinuz-2", []string{"root=UUID=x", "ro", "console=ttyS0"}, []string{"/boot/ucode.img", "/boot/initrd-2"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); err != nil || d != "" {
		t.Errorf("%v, %s", err, d)
	}
	for _, bad := range []string{"", "initrd /x\n", "linux /vmlinuz\n"} {
		if _, err := firstEntry(bad); fault.KindOf(err) != fault.Input {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The kernel takes an archive for its initramfs only from a multiple of four on.
func TestGather(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/boot/five", "five5", 0o644)
	write(t, dir+"/boot/four", "four", 0o644)
	root, err := tree.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "all")
	if err := gather(to, root, "/boot/five", "/boot/four"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(to); err != nil || !slices.Equal(got, []byte("five5\x00\x00\x00four")) {
		t.Errorf("%q, %v", got, err)
	}
	if err := copyOut(io.Discard, root, "boot/five", 4); fault.KindOf(err) != fault.Input {
		t.Errorf("a file above the limit: %v", err)
	}
}
