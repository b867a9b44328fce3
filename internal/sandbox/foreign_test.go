package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
)

// Entries as the kernel shows them.
const (
	aarch64 = `enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
`
	arm = `enabled
interpreter /usr/bin/qemu-arm-static
flags: OCF
offset 0
magic 7f454c4601010100000000000000000002002800
mask ffffffffffffff00fffffffffffffffffeffffff
`
	python = `enabled
interpreter /usr/bin/python3.11
flags: 
offset 0
magic a70d0d0a
`
	jar = `enabled
interpreter /usr/bin/jexec
flags: 
extension .jar
`
)

func TestCheckArch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		arch, host string
		entries    map[string]string
		want       string // in the error; "" for none
	}{
		"native":        {"x86_64", "amd64", nil, ""},
		"native arm":    {"arm64", "arm64", nil, ""},
		"unknown":       {"sparc", "amd64", nil, "not x86_64 or arm64"},
		"not mounted":   {"arm64", "amd64", nil, "not mounted"},
		"off":           {"arm64", "amd64", map[string]string{"status": "disabled\n", "qemu-aarch64": aarch64}, "switched off"},
		"none":          {"arm64", "amd64", map[string]string{"status": "enabled\n", "qemu-arm": arm, "python3.11": python, "jar": jar, "register": ""}, "qemu-aarch64"},
		"other way":     {"x86_64", "arm64", map[string]string{"status": "enabled\n", "qemu-aarch64": aarch64}, "qemu-x86_64"},
		"there":         {"arm64", "amd64", map[string]string{"status": "enabled\n", "qemu-arm": arm, "whatever": aarch64}, ""},
		"one of them":   {"arm64", "amd64", map[string]string{"status": "enabled\n", "qemu-aarch64": strings.Replace(aarch64, "enabled", "disabled", 1)}, "qemu-aarch64"},
		"not fixed":     {"arm64", "amd64", map[string]string{"status": "enabled\n", "qemu-aarch64": strings.Replace(aarch64, "POCF", "POC", 1)}, "without the flag F"},
		"far off":       {"arm64", "amd64", map[string]string{"status": "enabled\n", "x": strings.Replace(aarch64, "offset 0", "offset 120", 1)}, "qemu-aarch64"},
		"nonsense":      {"arm64", "amd64", map[string]string{"status": "enabled\n", "x": strings.Replace(aarch64, "magic 7f", "magic zz", 1)}, "qemu-aarch64"},
		"without masks": {"arm64", "amd64", map[string]string{"status": "enabled\n", "x": strings.SplitAfter(aarch64, "b700\n")[0]}, "qemu-aarch64"},
	} {
		registry := filepath.Join(dir, name)
		for file, text := range tc.entries {
			if err := os.MkdirAll(registry, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(registry, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		err := checkArch(tc.arch, tc.host, registry)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		if err != nil && tc.arch != "sparc" && (fault.KindOf(err) != fault.Host || fault.HintOf(err) == "") {
			t.Errorf("%s: %v is of kind %v, hint %q", name, err, fault.KindOf(err), fault.HintOf(err))
		}
	}
}
