package sandbox

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"ingot/internal/fault"
)

// binfmt is where the kernel tells which interpreters it starts for which files
// (https://docs.kernel.org/admin-guide/binfmt-misc.html).
const binfmt = "/proc/sys/fs/binfmt_misc"

// architectures that trees may be of, as EC2 spells them.
var architectures = map[string]struct {
	goarch   string
	machine  elf.Machine
	emulator string // QEMU's, for programs
}{
	"x86_64": {"amd64", elf.EM_X86_64, "qemu-x86_64"},
	"arm64":  {"arm64", elf.EM_AARCH64, "qemu-aarch64"},
}

// CheckArch returns nil if programs of an architecture, x86_64 or arm64, run in sandboxes here: this machine's own,
// or those for which the kernel knows an emulator. The error, of kind Host, says what is missing.
func CheckArch(arch string) error { return checkArch(arch, runtime.GOARCH, binfmt) }

func checkArch(arch, host, registry string) error {
	a, ok := architectures[arch]
	switch {
	case !ok:
		return fault.Newf(fault.Input, "architecture %q is not x86_64 or arm64", arch)
	case a.goarch == host:
		return nil
	}
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Host, fmt.Errorf("programs for %s do not run on this machine (%s): "+format, append([]any{arch, host}, args...)...),
			"build on a machine of that architecture, or install an emulator that needs no files in the tree (Debian: qemu-user-static)")
	}
	status, err := os.ReadFile(filepath.Join(registry, "status"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse("the kernel's register of emulators is not mounted (mount -t binfmt_misc binfmt_misc %s)", registry)
	case err != nil:
		return refuse("reading the kernel's register of emulators: %w", err)
	case strings.TrimSpace(string(status)) != "enabled":
		return refuse("binfmt_misc is switched off (echo 1 > %s/status)", registry)
	}
	entries, err := os.ReadDir(registry)
	if err != nil {
		return refuse("reading the kernel's register of emulators: %w", err)
	}
	why := refuse("the kernel knows no emulator such as %s for them", a.emulator)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(registry, e.Name()))
		if err != nil || !runs(string(text), a.machine) {
			continue
		}
		interpreter := field(string(text), "interpreter ")
		if strings.ContainsRune(field(string(text), "flags: "), 'F') {
			return nil
		}
		why = refuse("%s is registered for them without the flag F, so that a sandbox, where it is not in sight, cannot start it", interpreter)
	}
	return why
}

// field returns what follows a word at the start of a line.
func field(text, word string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, word); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// runs reports whether an entry of the register is in force for a machine's programs, with or without a fixed place.
func runs(entry string, m elf.Machine) bool {
	if !strings.HasPrefix(entry, "enabled\n") {
		return false
	}
	magic, err := hex.DecodeString(field(entry, "magic "))
	if err != nil || len(magic) == 0 {
		return false // it goes by the name's extension
	}
	mask, err := hex.DecodeString(field(entry, "mask "))
	if err != nil {
		return false
	}
	offset, err := strconv.Atoi(field(entry, "offset "))
	if err != nil || offset < 0 {
		return false
	}
	for _, kind := range []elf.Type{elf.ET_EXEC, elf.ET_DYN} {
		head := make([]byte, 128)
		copy(head, []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)})
		head[16], head[18] = byte(kind), byte(m)
		if offset+len(magic) > len(head) {
			return false
		}
		head = head[offset : offset+len(magic)]
		for i := range mask {
			if i < len(head) {
				head[i] &= mask[i]
				magic[i] &= mask[i]
			}
		}
		if !bytes.Equal(head, magic) {
			return false
		}
	}
	return true
}
