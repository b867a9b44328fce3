// Package factorytest helps tests of the factory: packages that images can be made of, and boot tests whose verdicts are recorded.
package factorytest

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"

	"ingot/internal/deb/debtest"
)

// Packages returns packages by the names that Debian's facts ask for, with a kernel that has every driver built in
// and the files that the boot loader is made from, on top of debtest's base.
func Packages(t testing.TB) []debtest.Package {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../distro/debian/facts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var facts struct {
		Packages []string
		Drivers  []string
		Arches   map[string]struct {
			Kernel string
			Boot   []string
			ESP    []struct{ From string }
		}
	}
	if err := yaml.Unmarshal(text, &facts); err != nil {
		t.Fatal(err)
	}
	arch := facts.Arches["x86_64"]
	loader := debtest.Pack(arch.Boot[0], "", nil)
	for _, f := range arch.ESP {
		loader.Add(strings.TrimPrefix(f.From, "/"), "program of the boot loader\n", 0o644)
	}
	kernel := debtest.Pack(arch.Kernel, "", nil, "boot/vmlinuz-6")
	kernel.Add("boot/initrd.img-6", "", 0o644)
	kernel.Add("boot/grub/grub.cfg", "menuentry {\nlinux /boot/vmlinuz-6\ninitrd /boot/initrd.img-6\n}\n", 0o644) // the base's shell runs no grub-mkconfig
	kernel.Add("usr/lib/modules/6/modules.builtin", strings.Join(facts.Drivers, ".ko\n")+".ko\n", 0o644)
	kernel.Add("usr/lib/modules/6/kernel/drivers/net/dummy.ko", "", 0o644) // each kernel has modules of its own
	all := []debtest.Package{base(t), loader, kernel}
	for _, name := range append(facts.Packages, arch.Boot[1:]...) {
		all = append(all, debtest.Pack(name, "", nil))
	}
	return all
}

var baseOnce struct {
	sync.Once
	debtest.Package
}

// base is debtest's, with the programs that customising calls.
func base(t testing.TB) debtest.Package {
	t.Helper()
	baseOnce.Do(func() {
		p := debtest.Base(t)
		for _, program := range []string{"usr/bin/systemctl", "usr/sbin/update-initramfs"} {
			p.Add(program, debtest.Script(), 0o755)
		}
		p.Add("var/lib/apt/extended_states", "", 0o644)
		baseOnce.Package = p
	})
	return baseOnce.Package
}
