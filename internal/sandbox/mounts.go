package sandbox

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// setup is what the first process of a sandbox is told.
type setup struct {
	Root     string
	Device   uint64 // Root must still be this directory when the process opens it
	Inode    uint64
	Network  bool
	Hostname string
	ReadOnly bool
	Binds    []Bind
	Policy   bool // the tree has a policy-rc.d of its own, to be covered
	Made     []made
}

// mount is an open descriptor of a mount that may not be attached anywhere (fsmount(2), open_tree(2)).
type mount int

func (m mount) close() { closeFD(int(m)) }

// at attaches m to the directory or file that fd stands for; links were resolved when fd was opened.
func (m mount) at(fd int) error {
	return unix.MoveMount(int(m), "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// restrict adds MOUNT_ATTR flags to m and everything mounted below it.
func (m mount) restrict(attributes uint64) error {
	return unix.MountSetattr(int(m), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE,
		&unix.MountAttr{Attr_set: attributes, Propagation: unix.MS_PRIVATE})
}

// newMount makes a filesystem of a kind. Options are key, value, key, value.
func newMount(kind string, attributes int, options ...string) (mount, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("opening a new %s: %w", kind, err)
	}
	defer closeFD(fs)
	for i := 0; i+1 < len(options); i += 2 {
		if err := unix.FsconfigSetString(fs, options[i], options[i+1]); err != nil {
			return -1, fmt.Errorf("setting %s=%s of a new %s: %w", options[i], options[i+1], kind, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("creating a new %s: %w", kind, err)
	}
	m, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, fmt.Errorf("mounting a new %s: %w", kind, err)
	}
	return mount(m), nil
}

// cloneMount returns a bind mount of what dir and name lead to, with all that is mounted below.
func cloneMount(dir int, name string) (mount, error) {
	m, err := unix.OpenTree(dir, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, fmt.Errorf("making a bind mount of %s: %w", name, err)
	}
	return mount(m), nil
}

const (
	hardened  = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	policyRC  = "usr/sbin/policy-rc.d"
	resolver  = "etc/resolv.conf"
	innerRoot = "/tree" // where the helpers see the tree
)

// policyText denies every start and stop of a service: 101 is "action forbidden by policy" in Debian's
// interface for policy-rc.d.
const policyText = "#!/bin/sh\n# ingot: no service is started or stopped while an image is being made\nexit 101\n"

// enter builds the root of the sandbox and makes it this process's own. Afterwards "/" is an empty, read-only
// tmpfs with the tree at innerRoot and nothing of the host. Commands are started with chroot(2) into the tree:
// one that breaks out of that stands in the tmpfs, and one that asks whether it runs in a chroot (ischroot,
// systemctl, udev's scripts) is told so, and starts nothing.
func (s *setup) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	tree, err := s.openTree()
	if err != nil {
		return err
	}
	// Its own /proc first: the kernel lets a user namespace have one only where the host's is not masked.
	proc, err := newMount("proc", hardened|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return err
	}
	later, err := s.inside()
	if err != nil {
		return err
	}
	base, err := newMount("tmpfs", hardened, "mode", "0755", "size", "64k")
	if err != nil {
		return err
	}
	// Any directory will do to hang it up: this process alone sees it there, and for a moment.
	if err := unix.MoveMount(int(base), "", unix.AT_FDCWD, "/proc", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attaching the sandbox's root: %w", err)
	}
	for name, m := range map[string]mount{path.Base(innerRoot): tree, "proc": proc} {
		if err := unix.Mkdirat(int(base), name, 0o755); err != nil {
			return fmt.Errorf("making /%s: %w", name, err)
		}
		if err := attach(m, int(base), name, 0); err != nil {
			return err
		}
	}
	for _, p := range later {
		if err := p.put(int(tree)); err != nil {
			return err
		}
	}
	if s.Policy {
		if err := coverPolicy(int(base), int(tree)); err != nil {
			return err
		}
	}
	if err := base.lock(); err != nil {
		return err
	}
	// pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one, and is taken off.
	if err := unix.Fchdir(int(base)); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	return unix.Chdir("/")
}

func (m mount) lock() error {
	err := unix.MountSetattr(int(m), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return fmt.Errorf("making the sandbox's root read-only: %w", err)
	}
	return nil
}

// openTree returns a mount of the tree, without the power of its device nodes.
func (s *setup) openTree() (mount, error) {
	tree, err := cloneMount(unix.AT_FDCWD, s.Root)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(tree), &st); err != nil {
		return -1, fmt.Errorf("looking at %s: %w", s.Root, err)
	}
	if st.Dev != s.Device || st.Ino != s.Inode {
		return -1, fmt.Errorf("opening %s: another directory has taken its place", s.Root)
	}
	attributes := uint64(unix.MOUNT_ATTR_NODEV)
	if s.ReadOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID
	}
	if err := tree.restrict(attributes); err != nil {
		return -1, fmt.Errorf("restricting the mount of %s: %w", s.Root, err)
	}
	return tree, nil
}

// placed is a mount and the path inside where it goes.
type placed struct {
	mount mount
	name  string
	fill  func(dir int) error // makes what is in it, or nil
	cover bool                // mount over a symbolic link itself, not over what it leads to
}

func (p placed) put(tree int) error {
	follow := uint64(0)
	if p.cover {
		follow = unix.O_NOFOLLOW
	}
	if err := attach(p.mount, tree, p.name, follow); err != nil {
		return err
	}
	if p.fill == nil {
		return nil
	}
	if err := p.fill(int(p.mount)); err != nil {
		return fmt.Errorf("filling /%s: %w", p.name, err)
	}
	return nil
}

// attach mounts m over name below root. With O_NOFOLLOW as flags the last part of name may be a symbolic link,
// which is covered.
func attach(m mount, root int, name string, flags uint64) error {
	point, err := inRoot(root, name, unix.O_PATH|flags, 0)
	if err != nil {
		return fmt.Errorf("opening /%s in the tree: %w", name, err)
	}
	defer closeFD(point)
	if err := m.at(point); err != nil {
		return fmt.Errorf("mounting on /%s: %w", name, err)
	}
	return nil
}

// inside returns the mounts below the tree, parents first, made while the host can still be seen.
func (s *setup) inside() ([]placed, error) {
	dev, err := s.devices()
	if err != nil {
		return nil, err
	}
	sys, err := newMount("sysfs", hardened|unix.MOUNT_ATTR_RDONLY)
	if errors.Is(err, unix.EPERM) { // with the host's network, only a copy of the host's mount is allowed
		if sys, err = cloneMount(unix.AT_FDCWD, "/sys"); err == nil {
			err = sys.restrict(hardened | unix.MOUNT_ATTR_RDONLY)
		}
	}
	if err != nil {
		return nil, err
	}
	run, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "0755")
	if err != nil {
		return nil, err
	}
	tmp, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "1777")
	if err != nil {
		return nil, err
	}
	all := append(dev,
		placed{mount: sys, name: "sys"},
		placed{mount: run, name: "run", fill: func(dir int) error {
			if err := unix.Mkdirat(dir, "lock", 0); err != nil {
				return err
			}
			return unix.Fchmodat(dir, "lock", 0o1777, 0)
		}},
		placed{mount: tmp, name: "tmp"})
	for _, b := range s.Binds {
		m, err := cloneMount(unix.AT_FDCWD, b.Source)
		if err != nil {
			return nil, err
		}
		attributes := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
		if b.ReadOnly {
			attributes |= unix.MOUNT_ATTR_RDONLY
		}
		if err := m.restrict(attributes); err != nil {
			return nil, fmt.Errorf("restricting the mount of %s: %w", b.Source, err)
		}
		all = append(all, placed{mount: m, name: b.Target, cover: b.Target == resolver})
	}
	return all, nil
}

// devices returns a minimal /dev: the nodes that every program may use, borrowed from the host, since a user
// namespace cannot make its own.
func (s *setup) devices() ([]placed, error) {
	nodes := []string{"null", "zero", "full", "random", "urandom", "tty"}
	links := map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}
	dev, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "mode", "0755", "size", "1m")
	if err != nil {
		return nil, err
	}
	all := []placed{{mount: dev, name: "dev", fill: func(dir int) error {
		for name, target := range links {
			if err := unix.Symlinkat(target, dir, name); err != nil {
				return err
			}
		}
		for _, name := range []string{"pts", "shm"} {
			if err := unix.Mkdirat(dir, name, 0o755); err != nil {
				return err
			}
		}
		for _, name := range nodes {
			fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
			if err != nil {
				return err
			}
			closeFD(fd)
		}
		return nil
	}}}
	pts, err := newMount("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "ptmxmode", "0666", "mode", "0620", "gid", "5")
	if errors.Is(err, unix.EINVAL) { // group 5, tty, is not mapped here
		pts, err = newMount("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "ptmxmode", "0666", "mode", "0620")
	}
	if err != nil {
		return nil, err
	}
	shm, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "1777")
	if err != nil {
		return nil, err
	}
	all = append(all, placed{mount: pts, name: "dev/pts"}, placed{mount: shm, name: "dev/shm"})
	for _, name := range nodes {
		m, err := cloneMount(unix.AT_FDCWD, "/dev/"+name)
		if err == nil {
			err = m.restrict(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC) // else chmod(1) would reach the host's node
		}
		if err != nil {
			return nil, err
		}
		all = append(all, placed{mount: m, name: "dev/" + name})
	}
	return all, nil
}

// coverPolicy mounts our policy-rc.d over the tree's own.
func coverPolicy(base, tree int) error {
	fd, err := unix.Openat(base, "policy-rc.d", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o755)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if _, err := unix.Write(fd, []byte(policyText)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, 0o755); err != nil {
		return err
	}
	m, err := cloneMount(base, "policy-rc.d")
	if err != nil {
		return err
	}
	// The tmpfs it lies on is noexec; the policy is to be executed.
	err = unix.MountSetattr(int(m), "", unix.AT_EMPTY_PATH,
		&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Attr_clr: unix.MOUNT_ATTR_NOEXEC})
	if err != nil {
		return fmt.Errorf("preparing %s: %w", policyRC, err)
	}
	return attach(m, tree, policyRC, 0)
}

// mountProc gives this process, the first of a process namespace, its view of /proc, read-only as a whole.
func mountProc() error {
	proc, err := newMount("proc", hardened|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return err
	}
	defer proc.close()
	root, err := unix.Open(innerRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeFD(root)
	if err := attach(proc, root, "proc", 0); err != nil {
		return err
	}
	if err := unix.Unmount("/proc", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("taking away the first process's /proc: %w", err)
	}
	return nil
}
