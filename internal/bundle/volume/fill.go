package volume

import (
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/disk"
	"ingot/internal/disk/ext4"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

// skeleton adds what a system needs before it has mounted anything, and takes its identity away.
func (t *edited) skeleton(anonymous bool, when time.Time) {
	for _, d := range append([]string{"tmp", "var/tmp"}, emptied...) {
		mode := uint32(0o755)
		if strings.HasSuffix(d, "tmp") {
			mode = 0o1777
		}
		if t.find(d) == nil {
			t.set(tree.Entry{Path: d, Mode: unix.S_IFDIR | mode, MTime: when})
		}
	}
	for _, n := range []struct {
		name         string
		mode         uint32
		major, minor uint32
	}{{"console", 0o600, 5, 1}, {"null", 0o666, 1, 3}, {"tty", 0o666, 5, 0}, {"zero", 0o666, 1, 5}} {
		t.set(tree.Entry{Path: "dev/" + n.name, Mode: unix.S_IFCHR | n.mode, Major: n.major, Minor: n.minor, MTime: when})
	}
	if e := t.find("etc/machine-id"); anonymous && e != nil && e.Mode&unix.S_IFMT == unix.S_IFREG {
		t.write("etc/machine-id", 0o444, nil, when) // systemd makes one at the next boot
	}
}

// read returns the content of a small file, nil where there is none.
func (t *edited) read(name string) ([]byte, error) {
	const most = 64 << 20
	e := t.find(name)
	if e == nil || e.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, nil
	}
	if e.Size > most {
		return nil, fault.Newf(fault.Input, "/%s has %d bytes", name, e.Size)
	}
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, e.Size)
	if _, err := f.ReadAt(text, 0); err != nil {
		return nil, fmt.Errorf("reading /%s: %w", name, err)
	}
	return text, nil
}

// fstab puts the fstab that is asked for into the tree, or makes sure that the one that is there fits the image.
func (t *edited) fstab(o *Options, uuid disk.UUID, label string, profile ext4.Profile) error {
	const name = "etc/fstab"
	old, err := t.read(name)
	if err != nil {
		return err
	}
	next := o.Fstab
	if o.GenerateFstab {
		next = generateFstab(uuid, profile)
	}
	if next == nil {
		return checkFstab(string(old), uuid, label)
	}
	if err := checkFstab(string(next), uuid, label); err != nil {
		return err
	}
	if t.write(name, 0o644, next, o.Now); old != nil {
		t.write(name+".old", 0o644, old, o.Now)
	}
	return nil
}

func generateFstab(uuid disk.UUID, profile ext4.Profile) []byte {
	text := fmt.Sprintf("# Written by ingot bundle volume.\nUUID=%s\t/\text4\tdefaults,noatime\t1 1\n", uuid)
	if profile == ext4.EL6 { // what later systems mount by themselves
		text += "devpts\t/dev/pts\tdevpts\tgid=5,mode=620\t0 0\ntmpfs\t/dev/shm\ttmpfs\tdefaults\t0 0\n" +
			"proc\t/proc\tproc\tdefaults\t0 0\nsysfs\t/sys\tsysfs\tdefaults\t0 0\n"
	}
	return []byte(text)
}

// checkFstab refuses an fstab whose root is not the image's filesystem.
func checkFstab(text string, uuid disk.UUID, label string) error {
	const hint = "let a new one be generated, or give one"
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || path.Clean(f[1]) != "/" {
			continue
		}
		kind, value, _ := strings.Cut(f[0], "=")
		value = strings.Trim(value, `"`)
		switch {
		case f[2] != "auto" && !strings.HasPrefix(f[2], "ext"):
			return fault.New(fault.Input, fmt.Errorf("its fstab says that / is %s, and the image's is ext4", f[2]), hint)
		case kind == "UUID" && !strings.EqualFold(value, uuid.String()):
			return fault.New(fault.Input, fmt.Errorf("its fstab says that / is the filesystem %s, and the image's is %s", value, uuid), hint)
		case kind == "LABEL" && value != label:
			return fault.New(fault.Input, fmt.Errorf("its fstab says that / has the label %q, and the image's has %q", value, label), hint)
		case kind == "PARTUUID" || kind == "PARTLABEL":
			return fault.New(fault.Input, fmt.Errorf("its fstab names / by its partition, and the image's partitions are new"), hint)
		}
	}
	return nil
}
