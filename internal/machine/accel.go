package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Accel is how QEMU runs the guest's instructions, and why so.
type Accel struct {
	Name   string `json:"name"`   // kvm or tcg
	CPU    string `json:"cpu"`    // QEMU's name of the processor that the guest sees
	Reason string `json:"reason"` // for people
	// OneThread has TCG run all of the guest's processors in one thread of the host: it takes longer, and no processor
	// meets another one's change of code half done.
	OneThread bool `json:"oneThread,omitempty"`
}

func (a Accel) option() string {
	switch {
	case a.Name != "tcg":
		return a.Name
	case a.OneThread:
		return "tcg,thread=single"
	}
	return "tcg,thread=multi"
}

// TCG returns QEMU's own translation of instructions, which works everywhere and is 5 to 20 times slower
// than a processor.
func TCG(arch, reason string) Accel {
	// On x86 the CPU is as plain as today's distributions allow (x86-64-v2): what a guest does not find,
	// it does not use, and TCG runs SSE2 faster than AVX2. AMD's name spares the guest page table
	// isolation, which costs a Nehalem (Intel) a sixth of its boot time. docs/performance.md has figures.
	cpu := "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf-lm"
	if arch == "arm64" {
		cpu = "cortex-a72"
	}
	return Accel{Name: "tcg", CPU: cpu, Reason: reason}
}

// probeLimit is how long the probe's guest may take. It needs a tenth of a second.
const probeLimit = 5 * time.Second

var (
	probing = make(chan struct{}, 1) // full while somebody has probed
	probed  = map[string]Accel{}     // by architecture
)

// Probe says how this host runs guests of an architecture best. KVM counts only when a tiny guest has just
// run on it to its end: there are hosts that offer /dev/kvm where guests hang or die at once. The answer
// is kept for the life of the process. Where ctx ends first, the answer is emulation, and is not kept.
func Probe(ctx context.Context, arch string) Accel {
	select {
	case probing <- struct{}{}:
		defer func() { <-probing }()
	case <-ctx.Done():
		return TCG(arch, "whether KVM works was not tried: "+context.Cause(ctx).Error())
	}
	if a, ok := probed[arch]; ok {
		return a
	}
	a := TCG(arch, "")
	if err := probeKVM(ctx, arch); err != nil {
		a.Reason = "KVM is not used: " + err.Error()
	} else {
		a = Accel{Name: "kvm", CPU: "host", Reason: "a test guest ran on KVM"}
	}
	if ctx.Err() == nil {
		probed[arch] = a
	}
	return a
}

// probes are guests that use the processor for a moment and then end QEMU.
var probes = map[string]struct {
	goarch string
	image  []byte
	exit   int // what QEMU returns where the guest got to its end
	args   []string
}{
	"x86_64": {"amd64", bootSector(), 0x21<<1 | 1, []string{"-machine", "q35", "-device", "isa-debug-exit,iobase=0xf4",
		"-device", "virtio-blk-pci,drive=probe", "-drive", "if=none,id=probe,format=raw,readonly=on,file="}},
	// mov w0, PSCI SYSTEM_OFF (0x84000008); hvc #0
	"arm64": {"arm64", []byte{0x00, 0x01, 0x80, 0x52, 0x00, 0x80, 0xb0, 0x72, 0x02, 0x00, 0x00, 0xd4}, 0,
		[]string{"-machine", "virt,gic-version=max", "-bios", ""}},
}

// bootSector is a boot sector (padded to a size that firmware takes for a disk) which goes from real to
// 64-bit mode, counts to 20 million there, and writes 0x21 to the debug-exit port. In GNU as:
//
//	cli; xorw %ax,%ax; movw %ax,%ds; movw %ax,%es; movw %ax,%ss; movw $0x7c00,%sp
//	movl $0x1000,%edi; movl %edi,%cr3; xorl %eax,%eax; movw $0xc00,%cx; rep stosl   # page tables
//	movw $0x2003,0x1000; movw $0x3003,0x2000; movw $0x0083,0x3000                   # first 2 MiB
//	movl $0x20,%eax; movl %eax,%cr4                                                 # PAE
//	movl $0xc0000080,%ecx; rdmsr; orw $0x100,%ax; wrmsr                             # EFER.LME
//	lgdt gdtr; movl %cr0,%eax; orl $0x80000001,%eax; movl %eax,%cr0; ljmp $8,$long
//	long: xorl %eax,%eax; cpuid; movl $20000000,%ecx; 1: addq %rcx,%rax; decl %ecx; jnz 1b
//	movb $0x21,%al; outb %al,$0xf4; 2: hlt; jmp 2b
//	gdt: .quad 0, 0x00209a0000000000; gdtr: .word 15; .long gdt
func bootSector() []byte {
	code := "\xfa\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c\x66\xbf\x00\x10\x00\x00\x0f\x22\xdf\x66\x31\xc0" +
		"\xb9\x00\x0c\xfc\x66\xf3\xab\xc7\x06\x00\x10\x03\x20\xc7\x06\x00\x20\x03\x30\xc7\x06\x00\x30\x83\x00" +
		"\x66\xb8\x20\x00\x00\x00\x0f\x22\xe0\x66\xb9\x80\x00\x00\xc0\x0f\x32\x0d\x00\x01\x0f\x30\x0f\x01\x16" +
		"\x88\x7c\x0f\x20\xc0\x66\x0d\x01\x00\x00\x80\x0f\x22\xc0\xea\x5d\x7c\x08\x00\x31\xc0\x0f\xa2\xb9\x00" +
		"\x2d\x31\x01\x48\x01\xc8\xff\xc9\x75\xf9\xb0\x21\xe6\xf4\xf4\xeb\xfd\x0f\x1f\x40\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x9a\x20\x00\x0f\x00\x78\x7c\x00\x00"
	image := make([]byte, 1<<20)
	copy(image, code)
	image[510], image[511] = 0x55, 0xaa
	return image
}

// probeKVM runs the probe's guest on KVM.
func probeKVM(ctx context.Context, arch string) error {
	switch {
	case probes[arch].goarch != runtime.GOARCH:
		return fmt.Errorf("this host's processor does not run %s", arch)
	case runtime.GOOS != "linux":
		return errors.New("this host is not Linux")
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	kvm.Close()
	return runProbe(ctx, arch, Accel{Name: "kvm", CPU: "host"}, probeLimit)
}

func runProbe(ctx context.Context, arch string, a Accel, limit time.Duration) error {
	qemu, err := findEmulator(arch)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ingot-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := probes[arch]
	image := filepath.Join(dir, "probe.img")
	if err := os.WriteFile(image, p.image, 0o600); err != nil {
		return err
	}
	args := append([]string{"-accel", a.option(), "-cpu", a.CPU, "-m", "64", "-nodefaults", "-no-user-config", "-display", "none"}, p.args...)
	args[len(args)-1] += escape(image)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, args...)
	cmd.WaitDelay = time.Second
	// The thread is held because the kernel sends Pdeathsig when it ends (see launch).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	said := strings.TrimSpace(out.String())
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("a test guest did not come to its end within %v", limit)
	case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == p.exit:
		return nil
	case said != "":
		return fmt.Errorf("a test guest died (%s)", strings.Join(strings.Fields(said), " "))
	}
	return fmt.Errorf("a test guest died: %w", err)
}
