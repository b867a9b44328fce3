// Package workshop is a machine to work in, on a host whose own kernel does not do: a finished image in QEMU, with room on its disk, whose
// kernel is told what the host's was not. Nothing of what is done in it stays, but for what is taken out.
package workshop

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/shell"
	"ingot/internal/verify"
)

// What a machine gets.
const (
	memory    = 2 << 30   // bytes
	room      = 32 << 30  // bytes of disk beside the image; the host gives what is written
	bootLimit = time.Hour // without KVM, on a busy host; a boot that cannot succeed is seen on the console
	maxTaken  = 1 << 40   // bytes of a file that is taken out
)

// patience is for a kernel without KVM on a busy host: there the check that interrupts of the timer come at all is lost by chance, and
// what systemd waits for takes longer than the 90 seconds that it gives it. Debian 12's does not know the last of these, and goes on
// without the devices that it misses.
var patience = []string{"no_timer_check", "systemd.default_timeout_start_sec=20min", "systemd.default_device_timeout_sec=20min"}

// Options say what machine is wanted.
type Options struct {
	Image      string // raw disk image with GRUB, which grows its root to the disk; it is not written
	Name       string // of the image, for people
	Arch, User string
	OldSSH     bool
	Parameters []string // of the kernel, beside those that the image has
	Dir        string   // of the machine's own, for scratch files, and the console's log, which stays
	Task       *progress.Task
}

// Workshop is a machine that runs. Its methods are called one after the other.
type Workshop struct {
	// run runs a command of the machine's shell, which a nil reader gives no input.
	run   func(ctx context.Context, command string, in io.Reader, out, errOut io.Writer) error
	close func()
}

// Open boots a machine. The caller must call Close.
func Open(ctx context.Context, o Options) (*Workshop, error) {
	info, err := os.Stat(o.Image)
	if err != nil {
		return nil, err
	}
	boot := filepath.Join(o.Dir, "kernel")
	if err := os.MkdirAll(boot, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(boot) // QEMU has read it by then
	kernel, err := findKernel(o.Image, boot, slices.Concat(patience, o.Parameters))
	if err != nil {
		return nil, fmt.Errorf("looking for the kernel of %s: %w", o.Image, err)
	}
	g, err := verify.Enter(ctx, verify.Options{
		Image: o.Image, Name: o.Name, Arch: o.Arch, User: o.User, SSH: verify.SSHOptions{Legacy: o.OldSSH}, Kernel: kernel,
		DiskSize: info.Size() + room, Memory: memory, CPUs: min(runtime.NumCPU(), 16), Timeout: bootLimit, Dir: o.Dir, Task: o.Task,
	})
	if err != nil {
		return nil, err
	}
	return &Workshop{g.Run, g.Close}, nil
}

// Close cuts the machine's power.
func (w *Workshop) Close() { w.close() }

// Run runs a program as root. It returns what the program ends with: an error of the type verify.ExitError where that is not 0.
func (w *Workshop) Run(ctx context.Context, in io.Reader, out, errOut io.Writer, args ...string) error {
	line := "sudo -n"
	for _, a := range args {
		line += " " + shell.Quote(a)
	}
	return w.run(ctx, line, in, out, errOut)
}

// tool runs a program that says only on its standard error why it fails.
func (w *Workshop) tool(ctx context.Context, in io.Reader, out io.Writer, args ...string) error {
	var said bytes.Buffer
	err := w.Run(ctx, in, out, &said, args...)
	var exit *verify.ExitError
	if errors.As(err, &exit) {
		return fault.Newf(fault.Host, "%s in the machine: %w: %s", args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return err
}

// File is a file that a machine gets.
type File struct {
	To   string // absolute path in the machine
	From string // path on the host; links are followed
	Link string // what a symbolic link points to, in place of From
}

var errGone = errors.New("the machine takes no more")

// Put gives the machine files, which belong to root there.
func (w *Workshop) Put(ctx context.Context, files []File, t *progress.Task) error {
	r, to := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := pack(to, files, t)
		to.CloseWithError(err)
		packed <- err
	}()
	err := w.tool(ctx, r, io.Discard, "tar", "--extract", "--absolute-names", "--no-same-owner", "--file=-")
	r.CloseWithError(errGone)
	if e := <-packed; e != nil && !errors.Is(e, errGone) {
		err = e // which is why the machine's tar fails
	}
	if err != nil {
		return fmt.Errorf("putting files into the machine: %w", err)
	}
	return nil
}

func pack(w io.Writer, files []File, t *progress.Task) error {
	archive := tar.NewWriter(w)
	for _, f := range files {
		if err := packOne(archive, f, t); err != nil {
			return err
		}
	}
	return archive.Close()
}

func packOne(archive *tar.Writer, f File, t *progress.Task) error {
	if f.Link != "" {
		return archive.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: f.To, Linkname: f.Link, Mode: 0o777})
	}
	file, err := os.Open(f.From)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fault.Newf(fault.Input, "%s is no file", f.From)
	}
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.To, Size: info.Size(), Mode: int64(info.Mode().Perm())}); err != nil {
		return err
	}
	n, err := io.CopyN(archive, file, info.Size())
	t.Add(n)
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.From, err)
	}
	return nil
}

// Take copies files out of a folder of the machine into one of the host, in this order. All must be there. Zeros become holes.
func (w *Workshop) Take(ctx context.Context, from, to string, names []string, t *progress.Task) error {
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	r, in := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := unpack(root, tar.NewReader(r), names, t)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // what tar pads its end with
		}
		r.CloseWithError(err)
		unpacked <- err
	}()
	err = w.tool(ctx, nil, in, append([]string{"tar", "--create", "--sparse", "--directory=" + from, "--file=-"}, names...)...)
	in.CloseWithError(err)
	if e := <-unpacked; e != nil && (err == nil || fault.Full(e)) {
		err = e // a full disk here is why the machine's tar fails
	}
	if err != nil {
		return fmt.Errorf("taking files out of the machine: %w", err)
	}
	return nil
}

func unpack(root *os.Root, archive *tar.Reader, names []string, t *progress.Task) error {
	for _, want := range names {
		h, err := archive.Next()
		switch {
		case err != nil:
			return fmt.Errorf("looking for %s: %w", want, err)
		case h.Name != want || !slices.Contains([]byte{tar.TypeReg, tar.TypeGNUSparse}, h.Typeflag) || h.Size > maxTaken:
			return fault.Newf(fault.Input, "the machine sends %q (%c, %d bytes) in place of %s", h.Name, h.Typeflag, h.Size, want)
		}
		file, err := root.OpenFile(path.Clean(want), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		t.Grow(h.Size)
		_, err = io.Copy(io.NewOffsetWriter(disk.Sparse(file, h.Size), 0), io.TeeReader(archive, t))
		if err == nil {
			err = file.Truncate(h.Size)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("writing %s: %w", filepath.Join(root.Name(), want), err)
		}
	}
	return nil
}
