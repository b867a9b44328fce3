package transmutetest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DNF is the host's own dnf, set up to install from the mirror alone, with its key. It needs root.
type DNF struct{ dir string }

// dnfConfig keeps dnf from everything of the host's: its cache and logs are in the tree. It is given a folder, the mirror and the key.
const dnfConfig = `[main]
cachedir=/var/cache/dnf
logdir=/var/log
reposdir=%[1]s/none
persistdir=/var/lib/dnf
plugins=0
install_weak_deps=0
keepcache=1
gpgcheck=1
[os]
name=os
baseurl=file://%[2]s
gpgkey=file://%[3]s
`

// DNF prepares it in a folder of its own, for a release.
func (c *CentOS) DNF(dir, release string) (*DNF, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	repository := filepath.Join(c.Dir, release, "os", "x86_64")
	for name, text := range map[string]string{
		"dnf.conf":   fmt.Sprintf(dnfConfig, dir, repository, c.KeyFile),
		".rpmmacros": "%_dbpath /var/lib/rpm\n", // Debian's rpm has it in the home folder
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return &DNF{dir}, nil
}

// Command makes root a directory with the one device that scripts cannot do without, and returns what installs packages there.
func (d *DNF) Command(root string, packages ...string) ([]string, error) {
	dev := filepath.Join(root, "dev")
	if err := os.MkdirAll(dev, 0o755); err != nil {
		return nil, err
	}
	null := filepath.Join(dev, "null")
	if err := unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return nil, fmt.Errorf("making %s: %w", null, err)
	}
	return append([]string{"env", "HOME=" + d.dir, "LC_ALL=C.UTF-8", "dnf", "--config", filepath.Join(d.dir, "dnf.conf"), "--assumeyes", "--quiet",
		"--installroot", root, "--releasever", "6", "install"}, packages...), nil
}
