package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// made is a name that the set-up had to put into a tree, and by which it is recognised later.
type made struct {
	Path  string
	Inode uint64
	CTime [2]int64
}

// scaffold is what a tree lacks and its sandboxes need as mount points. It leaves no trace: the times of the
// directories around are put back, and remove spares whatever somebody else has touched since. A package
// that brings its own /proc, for example, has changed the one made here.
//
// All sandboxes that are open on a tree share one, so that the last to be closed takes it away.
type scaffold struct {
	root  int       // the tree
	id    [2]uint64 // its device and inode
	users int

	mu   sync.Mutex // guards made, and changes to the tree
	made []made
}

// scaffolds are those in use, by the id of their tree.
var scaffolds = struct {
	sync.Mutex
	open map[[2]uint64]*scaffold
}{open: make(map[[2]uint64]*scaffold)}

func openScaffold(root string) (*scaffold, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		closeFD(fd)
		return nil, err
	}
	id := [2]uint64{st.Dev, st.Ino}
	scaffolds.Lock()
	defer scaffolds.Unlock()
	s := scaffolds.open[id]
	if s != nil {
		closeFD(fd)
	} else {
		s = &scaffold{root: fd, id: id}
		scaffolds.open[id] = s
	}
	s.users++
	return s, nil
}

// close ends one use of the scaffold, and with the last removes it from the tree.
func (s *scaffold) close() error {
	scaffolds.Lock()
	defer scaffolds.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	delete(scaffolds.open, s.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.remove(), unix.Close(s.root))
}

// hasDir reports whether the tree has a directory of that name, or a link to one.
func (s *scaffold) hasDir(name string) bool {
	fd, err := inRoot(s.root, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		closeFD(fd)
	}
	return err == nil
}

// built reports whether name was made here.
func (s *scaffold) built(name string) bool {
	return slices.ContainsFunc(s.made, func(m made) bool { return m.Path == name })
}

// dir makes the directory name and those above it, where they are missing.
func (s *scaffold) dir(name string, mode uint32) error {
	name = clean(name)
	fd, err := inRoot(s.root, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		closeFD(fd)
		return nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("opening /%s in the tree: %w", name, err)
	}
	return s.make(name, func(parent int, base string) error {
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
		closeFD(fd)
		return nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("opening /%s in the tree: %w", name, err)
	}
	return s.make(name, func(parent int, base string) error {
		fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err != nil {
			return err
		}
		defer closeFD(fd)
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

func (s *scaffold) make(name string, create func(parent int, base string) error) error {
	parent, base := path.Split(name)
	if parent = clean(parent); parent != "." {
		if err := s.dir(parent, 0o755); err != nil {
			return err
		}
	}
	above := slices.IndexFunc(s.made, func(m made) bool { return m.Path == parent && m.intact(s.root) })
	err := keepTimes(s.root, parent, func(dir int) error { return create(dir, base) })
	if errors.Is(err, unix.EEXIST) { // the name is there, but leads nowhere
		err = fmt.Errorf("it is a symbolic link to nothing in the tree: %w", err)
	}
	if err != nil {
		return fmt.Errorf("making /%s in the tree: %w", name, err)
	}
	err = s.record(name)
	if err == nil && above >= 0 { // that it has something in it now is no change of somebody else's
		s.made[above].Inode, s.made[above].CTime, err = s.made[above].stat(s.root)
	}
	return err
}

// record takes a name of the tree as made here.
func (s *scaffold) record(name string) (err error) {
	m := made{Path: name}
	if m.Inode, m.CTime, err = m.stat(s.root); err != nil {
		return fmt.Errorf("looking at /%s in the tree: %w", name, err)
	}
	s.made = append(s.made, m)
	return nil
}

// remove takes away, last made first, what nobody has changed since.
func (s *scaffold) remove() error {
	ours := slices.DeleteFunc(s.made, func(m made) bool { return !m.intact(s.root) })
	s.made = nil
	var errs []error
	for _, m := range slices.Backward(ours) {
		parent, base := path.Split(m.Path)
		err := keepTimes(s.root, clean(parent), func(dir int) error {
			err := unix.Unlinkat(dir, base, 0)
			if errors.Is(err, unix.EISDIR) {
				err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
			}
			return err
		})
		if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("removing /%s from the tree: %w", m.Path, err))
		}
	}
	return errors.Join(errs...)
}

// stat returns the inode and the time of its last change (inode(7)), of the name itself where it is a link.
func (m *made) stat(root int) (inode uint64, changed [2]int64, err error) {
	parent, base := path.Split(m.Path)
	dir, err := inRoot(root, clean(parent), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, changed, err
	}
	defer closeFD(dir)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, changed, err
	}
	return st.Ino, [2]int64{st.Ctim.Sec, st.Ctim.Nsec}, nil
}

// intact reports whether a name is still what was made here.
func (m *made) intact(root int) bool {
	inode, changed, err := m.stat(root)
	return err == nil && inode == m.Inode && changed == m.CTime
}

// keepTimes lets fn change the entries of a directory, and puts its times back.
func keepTimes(root int, name string, fn func(dir int) error) error {
	dir, err := inRoot(root, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if err := fn(dir); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, ".", []unix.Timespec{st.Atim, st.Mtim}, 0)
}
