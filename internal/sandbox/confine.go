package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// inRoot opens a path below the directory root as a process would whose root directory that is: symbolic
// links, absolute ones and ".." included, cannot lead out of it (openat2(2), RESOLVE_IN_ROOT).
func inRoot(root int, name string, flags, resolve uint64) (int, error) {
	how := &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve,
	}
	for {
		fd, err := unix.Openat2(root, name, how)
		// EAGAIN: something was renamed meanwhile, and the kernel could not vouch for a "..".
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return -1, err
		}
		return fd, nil
	}
}

// made is a name that the set-up had to put into a tree, and by which it is recognised later.
type made struct {
	Path  string
	Dir   bool
	Inode uint64
	CTime [2]int64
}

// scaffold is what a tree lacks and a sandbox needs as mount points. It leaves no trace: the times of the
// directories around are put back, and remove spares whatever somebody else has touched since. A package
// that brings its own /proc, for example, has changed the one made here.
type scaffold struct {
	root int
	made []made
}

// dir makes the directory name and those above it, where they are missing.
func (s *scaffold) dir(name string, mode uint32) error {
	name = clean(name)
	fd, err := inRoot(s.root, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		unix.Close(fd)
		return nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("opening /%s in the tree: %w", name, err)
	}
	return s.make(name, true, func(parent int, base string) error {
		if err := unix.Mkdirat(parent, base, mode); err != nil {
			return err
		}
		return unix.Fchmodat(parent, base, mode, 0) // past the umask
	})
}

// file makes the regular file name, and the directories above it, where they are missing.
func (s *scaffold) file(name string, content string, mode uint32) error {
	name = clean(name)
	fd, err := inRoot(s.root, name, unix.O_PATH, 0)
	if err == nil {
		unix.Close(fd)
		return nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("opening /%s in the tree: %w", name, err)
	}
	return s.make(name, false, func(parent int, base string) error {
		fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if _, err := unix.Write(fd, []byte(content)); err != nil {
			return err
		}
		return unix.Fchmod(fd, mode)
	})
}

// holds reports whether name is a regular file with just this content.
func (s *scaffold) holds(name, content string) (bool, error) {
	fd, err := inRoot(s.root, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, nil // it does not even exist, as a file that can be read
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(content)) {
		return false, err
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(len(content))))
	return string(data) == content, err
}

func (s *scaffold) make(name string, isDir bool, create func(parent int, base string) error) error {
	parent, base := path.Split(name)
	if parent = clean(parent); parent != "." {
		if err := s.dir(parent, 0o755); err != nil {
			return err
		}
	}
	err := keepTimes(s.root, parent, func(dir int) error { return create(dir, base) })
	if errors.Is(err, unix.EEXIST) { // the name is there, but leads nowhere
		err = fmt.Errorf("it is a symbolic link to nothing in the tree: %w", err)
	}
	if err != nil {
		return fmt.Errorf("making /%s in the tree: %w", name, err)
	}
	s.made = append(s.made, made{Path: name, Dir: isDir})
	return nil
}

// seal records what was made, once all of it is there.
func (s *scaffold) seal() error {
	for i := range s.made {
		m := &s.made[i]
		st, err := m.stat(s.root)
		if err != nil {
			return fmt.Errorf("looking at /%s in the tree: %w", m.Path, err)
		}
		m.Inode, m.CTime = st.Ino, ctime(st)
	}
	return nil
}

// remove takes away, last made first, what nobody has changed since seal.
func (s *scaffold) remove() error {
	var ours []made
	for _, m := range s.made {
		st, err := m.stat(s.root)
		if err == nil && st.Ino == m.Inode && ctime(st) == m.CTime {
			ours = append(ours, m)
		}
	}
	s.made = nil
	var errs []error
	for i := len(ours) - 1; i >= 0; i-- {
		m := ours[i]
		parent, base := path.Split(m.Path)
		flags := 0
		if m.Dir {
			flags = unix.AT_REMOVEDIR
		}
		err := keepTimes(s.root, clean(parent), func(dir int) error { return unix.Unlinkat(dir, base, flags) })
		if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("removing /%s from the tree: %w", m.Path, err))
		}
	}
	return errors.Join(errs...)
}

func (m *made) stat(root int) (*unix.Stat_t, error) {
	parent, base := path.Split(m.Path)
	dir, err := inRoot(root, clean(parent), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	return &st, unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
}

func ctime(st *unix.Stat_t) [2]int64 { return [2]int64{int64(st.Ctim.Sec), int64(st.Ctim.Nsec)} }

// keepTimes lets fn change the entries of a directory, and puts its times back.
func keepTimes(root int, name string, fn func(dir int) error) error {
	dir, err := inRoot(root, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if err := fn(dir); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, ".", []unix.Timespec{st.Atim, st.Mtim}, 0)
}

// clean turns a path inside into one relative to the root; "." is the root itself.
func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "."
	}
	return name
}
