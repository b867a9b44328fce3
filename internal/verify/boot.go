package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/internal/fault"
	"ingot/internal/machine"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// Options say what to boot and what to expect of it.
type Options struct {
	Image    string          // raw disk image; it is not written
	SHA256   string          // of the image, if known; "" to compute it
	Name     string          // of the image, for people
	Arch     string          // x86_64 (default) or arm64
	Firmware recipe.Firmware // bios (default) or uefi
	Bus      string          // nvme (default), virtio, scsi, ide
	Memory   int64           // bytes; default 1 GiB
	CPUs     int             // default 2
	Kernel   *machine.Kernel // is started in place of the disk's boot loader; nil for that one
	DiskSize int64           // bytes that the guest sees; default half as much again as the image, so that it has to grow
	User     string          // default login
	UserData []byte
	// MetadataFailures is how many requests for metadata fail at first.
	MetadataFailures int
	Timeout          time.Duration // for the whole boot; default recipe.DefaultBootTimeout
	Run              []string      // commands that must succeed over SSH
	Allow            []string      // console rules that the image may break, and checks that it may fail
	Dir              string        // where the verdict's files go; made if absent
	Keep             bool          // leave the machine running afterwards; the caller must call Verdict.Wait
	SSH              SSHOptions
	Accel            machine.Accel  // zero value: the best that works
	Task             *progress.Task // may be nil
}

// SSHOptions fit the client to the guest's server.
type SSHOptions struct {
	// Legacy speaks to servers from before 2014 (OpenSSH 5): an RSA key, SHA-1, CBC.
	Legacy bool
}

// instanceID is who the guest is told to be.
const instanceID = "i-0ca57000000000001"

func (o Options) complete() (Options, error) {
	info, err := os.Stat(o.Image)
	if errors.Is(err, os.ErrNotExist) {
		return o, fault.Newf(fault.Missing, "there is no disk image %s", o.Image)
	} else if err != nil {
		return o, err
	}
	if o.User == "" {
		return o, fault.Newf(fault.Input, "no user to log in as is known")
	}
	known := map[string]bool{}
	for _, r := range rules {
		known[r.Name] = true
	}
	for _, c := range checks {
		known[c.name] = true
	}
	for _, name := range o.Allow {
		if !known[name] {
			return o, fault.Newf(fault.Input, "test.allow names %q, which is neither a console rule nor a check", name)
		}
	}
	if o.DiskSize == 0 {
		const gib = 1 << 30
		o.DiskSize = (info.Size()*3/2 + gib - 1) / gib * gib
	}
	if o.Timeout == 0 {
		o.Timeout = recipe.DefaultBootTimeout
	}
	if o.Name == "" {
		o.Name = filepath.Base(o.Image)
	}
	return o, nil
}

// Boot boots an image in a machine of its own and returns the verdict, which is also saved in o.Dir. An
// image that fails is no error: the verdict says so. An error means that no verdict could be reached.
func Boot(ctx context.Context, o Options) (*Verdict, error) {
	o, err := o.complete()
	if err != nil {
		return nil, fmt.Errorf("boot test: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("boot test: %w", err)
	}
	v, err := o.boot(ctx, "")
	if err == nil && !o.Keep && v.mayBeQEMU() {
		v, err = o.withoutThreads(ctx, v)
	}
	if err != nil {
		return nil, fmt.Errorf("boot test of %s: %w", o.Name, err)
	}
	return v, nil
}

func (o Options) boot(ctx context.Context, stalled string) (*Verdict, error) {
	t := &test{Options: o, verdict: &Verdict{Name: o.Name, Image: filepath.Base(o.Image), Console: ConsoleFile, Started: time.Now().UTC(), Stalled: stalled}}
	return t.run(ctx)
}

// mayBeQEMU says whether an image failed when a processor of its machine got nowhere, and QEMU translated each in a thread of
// its own. Such a thread can keep the translation of an instruction that another processor has just replaced, and run it for ever:
// Linux replaces instructions while it boots. It was seen with QEMU 7.2, on a busy host.
func (v *Verdict) mayBeQEMU() bool {
	return !v.Passed && v.Accel.Name == "tcg" && !v.Accel.OneThread &&
		slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Rule == stallRule })
}

// withoutThreads boots again where that cannot happen: an image that is to blame stalls there too.
func (o Options) withoutThreads(ctx context.Context, first *Verdict) (*Verdict, error) {
	o.Task.Logf("a processor of the guest got nowhere, for which QEMU's threads can be to blame: booting again in one thread")
	if err := os.Rename(filepath.Join(o.Dir, ConsoleFile), filepath.Join(o.Dir, StalledFile)); err != nil {
		return nil, err
	}
	o.SHA256, o.Accel = first.SHA256, first.Accel
	o.Accel.OneThread = true
	return o.boot(ctx, first.Reason)
}

// test is one boot on its way to a verdict.
type test struct {
	Options
	verdict *Verdict
	key     *keyPair
	watch   *watcher
	machine *machine.Machine
	hostKey string   // that the guest showed at login, in authorized_keys format
	release []func() // what to undo at the end, in reverse
}

func (t *test) run(ctx context.Context) (v *Verdict, err error) {
	defer func() {
		if v == nil || v.kept == nil {
			t.clear()
		}
	}()
	if err := t.claim(); err != nil {
		return nil, err
	}
	if err := t.start(ctx); err != nil {
		return nil, err
	}
	sum := make(chan error, 1)
	go func() { sum <- t.digest(ctx) }()
	limited, cancel := context.WithTimeoutCause(ctx, t.Timeout, fmt.Errorf("the limit of %v has passed", t.Timeout))
	defer cancel()
	reason := t.judge(limited)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	t.watch.finish()
	if reason == "" { // the last words may have been without an end of line
		reason = t.failing()
	}
	if reason != "" {
		t.screenshot(ctx)
	}
	if err := <-sum; err != nil {
		return nil, err
	}
	t.conclude(reason)
	if err := t.verdict.write(t.Dir); err != nil {
		return nil, err
	}
	if t.Keep {
		select {
		case <-t.machine.Exited():
		default:
			return t.verdict, t.keep()
		}
	}
	return t.verdict, nil
}

// judge follows the boot until a user can log in, runs the checks, and returns why the image fails, or "".
func (t *test) judge(ctx context.Context) string {
	ctx, cancel := t.watched(ctx)
	defer cancel(nil)
	g, err := t.login(ctx)
	if err != nil {
		return t.because("nobody could log in", ctx, err)
	}
	defer g.close()
	t.watch.Reached("login")
	t.verdict.HostKey, t.hostKey = g.hostKey, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(g.key)))
	t.runChecks(ctx, g)
	if ctx.Err() != nil {
		return t.because("the checks did not come to their end", ctx, nil)
	}
	t.watch.Reached("checks")
	if !t.Keep && t.failing() == "" {
		cancel(nil) // from here on the machine's end is wanted
		t.powerOff()
	}
	return t.failing()
}

// watched returns a context that a fatal finding, or the end of the machine, ends.
func (t *test) watched(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-t.watch.fatal:
			cancel(errFatal)
		case <-t.machine.Exited():
			cancel(errEnded)
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// failing returns why the image fails by what is known so far, or "".
func (t *test) failing() string {
	for _, c := range t.verdict.Checks {
		if !c.Passed && !c.Skipped {
			return fmt.Sprintf("check %s failed: %s", c.Name, lastLine(c.Detail))
		}
	}
	return t.watch.failure()
}

var (
	errFatal = errors.New("the console tells why")
	errEnded = errors.New("the machine ended")
)

// because explains why waiting ended, from the most telling cause to the least.
func (t *test) because(what string, ctx context.Context, err error) string {
	if f := t.watch.failure(); f != "" && errors.Is(context.Cause(ctx), errFatal) {
		return f
	}
	text := what
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errEnded):
		text += ": the machine ended"
		if reason := t.machine.Reason(); reason != "" {
			text += " (" + reason + ")"
		}
		if broken := t.machine.Wait(context.Background()); broken != nil {
			text += ": " + broken.Error()
		}
	case cause != nil:
		text += ": " + cause.Error()
	}
	if err != nil && !errors.Is(err, cause) {
		text += ": " + err.Error()
	}
	return text + "; " + t.watch.where()
}

// powerOff is the last check: the guest obeys the power button.
func (t *test) powerOff() {
	start := time.Now()
	c := Check{Name: "power-off", Passed: true, Detail: "the guest powered off when asked"}
	if err := t.machine.Shutdown(context.Background()); err != nil {
		c.Passed, c.Detail = false, err.Error()
	}
	c.Seconds = seconds(time.Since(start))
	t.verdict.Checks = append(t.verdict.Checks, c)
}

// screenshot keeps the guest's screen. A machine that has ended has none.
func (t *test) screenshot(ctx context.Context) {
	picture, err := t.machine.Screenshot(ctx)
	if err == nil {
		err = os.WriteFile(filepath.Join(t.Dir, ScreenshotFile), picture, 0o644)
	}
	if err == nil {
		t.verdict.Screenshot = ScreenshotFile
	}
}

// digest computes the image's hash, beside the boot.
func (t *test) digest(ctx context.Context) error {
	if t.SHA256 != "" {
		return nil
	}
	f, err := os.Open(t.Image)
	if err != nil {
		return err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("hashing %s: %w", t.Image, err)
	}
	t.SHA256 = hex.EncodeToString(h.Sum(nil))
	return nil
}

// conclude fills in what is known at the end.
func (t *test) conclude(reason string) {
	c := t.machine.Config()
	v := t.verdict
	v.Passed, v.Reason, v.SHA256 = reason == "", reason, t.SHA256
	v.Arch, v.Firmware, v.Bus, v.Accel, v.Memory, v.DiskSize = c.Arch, c.Firmware, c.Bus, c.Accel, c.Memory, c.DiskSize
	v.Seconds = t.watch.since()
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	for _, name := range stageNames {
		at, seen := t.watch.stages[name]
		v.Stages = append(v.Stages, Stage{name, seen, at})
	}
	v.Findings = append([]Finding{}, t.watch.findings...)
	v.Checks = append([]Check{}, v.Checks...)
}

// lastLine is where a check's script says what it minds.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
