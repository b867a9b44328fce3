package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/progress"
	"ingot/internal/transmutetest"
)

// What runs in the guest, beside the checks that each image has to pass. The first boot prepares pacman; after that,
// pacman has to go on where our installer stopped.
const guestChecks = `
    - '[ "$(id -un)" = arch ]'
    - '[ -e /var/lib/ec2/pacman-keyring ] && sudo pacman-key --list-keys %s'
    - 'for i in $(seq 180); do [ -e /var/lib/ec2/pacman-mirrors ] && break; sleep 1; done; grep -qx us-east-1 /var/lib/ec2/pacman-mirrors'
    - 'grep -q "^Server = https" /etc/pacman.d/mirrorlist && grep -Eiq "United States|US" /etc/pacman.d/mirrorlist'
    - 'sudo pacman --config /etc/pacman-guest.conf --noconfirm -Syu && pacman -Q hello | grep -qx "hello 2-1" && hello | grep -qx "hello 2"'
    - 'sudo pacman --config /etc/pacman-guest.conf --noconfirm -S world && world && pacman -Qi world | grep -q "Validated By.*Signature"'
    - '! sudo pacman --config /etc/pacman-guest.conf --noconfirm -S marginal'
    - 'sudo pacman --noconfirm -Rs world && ! pacman -Q world && ! command -v world'
    - 'sudo pacman -Dk && sudo pacman -Qkk hello'
    - 'pacman -Qi growpart | grep -q "Packager.*ingot" && sudo pacman -Qkk growpart netplan && ! pacman -Qq | grep -qx cloud-guest-utils'
`

// archRecipe is a recipe like the shipped ones, for the transmuted repositories.
func archRecipe(a *transmutetest.Arch, name, guest, aur string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `name: %s
description: Transmuted Arch Linux
distro: arch
mirrors: ["%s"]
keys:
`, name, a.Mirrors()[0])
	for _, f := range a.MasterFingerprints() {
		fmt.Fprintf(&b, "  - {fingerprint: %s}\n", f)
	}
	if name == "arch-ec2" {
		fmt.Fprintf(&b, `kernel:
  package: linux-ec2
repositories:
  - name: ec2
    first: true
    signatures: all
    mirrors: ["%s"]
    keys:
      - {fingerprint: %s, file: %s/ec2.gpg}
`, a.Mirrors()[0], a.Keys.EC2.Fingerprint, a.KeyDir)
	}
	b.WriteString(aur)
	b.WriteString("packages:\n  include: [hello]\n  exclude: [cloud-guest-utils]\ndisk:\n  volume-size: 8\npublish:\n  name: " +
		strings.TrimPrefix(name, "arch-") + "-hvm-{day}.{arch}-ebs\n  regions: [us-east-1]\n")
	b.WriteString(`files:
  - {path: /srv/extra, directory: true}
  - {path: /etc/pacman-guest.conf, content: "[options]\nArchitecture = x86_64\nSigLevel = Required DatabaseOptional\n[extra]\nServer = file:///srv/extra\n"}
`)
	files, err := filepath.Glob(filepath.Join(guest, "*"))
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		fmt.Fprintf(&b, "  - {path: %q, source: %q}\n", "/srv/extra/"+filepath.Base(f), f)
	}
	fmt.Fprintf(&b, "test:\n  run:"+guestChecks, a.Keys.Second.Fingerprint)
	return b.String()
}

// newArch makes the transmuted repositories.
func newArch(t *testing.T) *transmutetest.Arch {
	t.Helper()
	a := transmuted(t, func(dir string, p *progress.Reporter) (*transmutetest.Arch, error) {
		return transmutetest.NewArch(t.Context(), dir, transmutetest.ArchOptions{Cache: userCache(t), Progress: p})
	})
	hello(t, a, "1-1")
	return a
}

// hello puts a version of a program into the repository.
func hello(t *testing.T, a *transmutetest.Arch, version string) *transmutetest.Package {
	t.Helper()
	return add(t, a, nil, transmutetest.Small{Name: "hello", Version: version, Depends: []string{"bash"},
		Files: map[string]string{"usr/bin/hello": "#!/bin/sh\necho hello " + version[:1] + "\n"}})
}

func add(t *testing.T, a *transmutetest.Arch, key *transmutetest.Key, s transmutetest.Small) *transmutetest.Package {
	t.Helper()
	p, err := a.Add("extra", s, key)
	if err == nil {
		err = a.Update("extra")
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// guestRepository is what the guest finds under /srv/extra: the repository after the lock was written, with newer packages.
func guestRepository(t *testing.T, a *transmutetest.Arch) string {
	t.Helper()
	world := transmutetest.Small{Name: "world", Version: "1-1", Depends: []string{"hello>=2"}, Files: map[string]string{"usr/bin/world": "#!/bin/sh\nhello\n"}}
	marginal := world
	marginal.Name = "marginal"
	marginal.Files = map[string]string{"usr/bin/marginal": "#!/bin/sh\n"}
	dir := filepath.Join(filepath.Dir(a.Dir), "guest")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*transmutetest.Package{hello(t, a, "2-1"), add(t, a, nil, world), add(t, a, a.Keys.Marginal, marginal)} {
		copyTree(t, p.File, filepath.Join(dir, filepath.Base(p.File)))
		copyTree(t, p.File+".sig", filepath.Join(dir, filepath.Base(p.File)+".sig"))
	}
	command(t, "cp", "-L", filepath.Join(a.Dir, "extra/os/x86_64/extra.db"), dir)
	return dir
}

// TestArch builds images of the transmuted Arch Linux with the stock kernel and with that of a repository of its own,
// and boots them: one of them once, or with INGOT_E2E the whole matrix.
func TestArch(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and boots whole images")
	}
	a := newArch(t)
	flavours := []string{"arch-std"}
	if os.Getenv("INGOT_E2E") != "" {
		flavours = append(flavours, "arch-ec2")
	}
	guest, aur := "", pkgbuilds(t, a)
	for _, name := range flavours {
		t.Run(name, func(t *testing.T) {
			recipe := filepath.Join(t.TempDir(), name+".yaml")
			write := func(to string) {
				t.Helper()
				if err := os.WriteFile(to, []byte(archRecipe(a, name, guest, aur)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write(recipe)
			w := newWorld(t, recipe, nil, nil, "TZ=Pacific/Kiritimati")
			w.must(t, 15*time.Minute, "lock", w.recipe)
			if guest == "" { // the image is older than what its guest will find
				guest = guestRepository(t, a)
			}
			write(w.recipe)
			w.withoutTools().must(t, 15*time.Minute, "build", w.recipe)
			if out := w.must(t, time.Minute, "build", w.recipe); !strings.Contains(out, "nothing to do") {
				t.Errorf("the second build did something:\n%s", out)
			}
			if m := w.manifest(t); !m.PublicOK {
				t.Error("the image failed its audit")
			}
			t.Run("pacman", func(t *testing.T) { checkWithPacman(t, w) })
			t.Run("reproducible", w.builtTwice)
			t.Run("boot", func(t *testing.T) {
				args := []string{"boot", w.recipe, "--firmware", "bios"}
				if os.Getenv("INGOT_E2E") != "" {
					args = []string{"boot", w.recipe, "--firmware", "bios,uefi", "--bus", "nvme,virtio"}
				}
				w.must(t, 55*time.Minute, args...)
			})
			t.Run("publish", func(t *testing.T) {
				out := w.must(t, 5*time.Minute, "publish", w.recipe, "--endpoint", "local")
				list := w.must(t, time.Minute, "catalog", "--json")
				if !strings.Contains(list, strings.TrimPrefix(name, "arch-")+"-hvm-20") || !strings.Contains(list, ".x86_64-ebs") {
					t.Errorf("published:\n%s\nthe catalogue lists:\n%s", out, list)
				}
			})
		})
	}
}

// checkWithPacman asks the tree's own pacman what it thinks of the tree. It says nothing of files that it expects to be
// changed, such as fstab; that resolv.conf is a link is known. No repository has been looked at yet.
func checkWithPacman(t *testing.T, w world) {
	root := strings.TrimSpace(w.must(t, time.Minute, "tree", "--quiet", w.recipe))
	out := w.must(t, 5*time.Minute, "shell", "--quiet", root, "--", "sh", "-c", "pacman -Dk || exit; pacman -Qkkq || true")
	for line := range strings.Lines(out) {
		known := strings.HasPrefix(line, "warning: database file for") || strings.Contains(line, "No database errors") ||
			strings.HasSuffix(strings.TrimSpace(line), "/etc/resolv.conf")
		if !known {
			t.Errorf("pacman finds fault with the tree: %s", line)
		}
	}
}
