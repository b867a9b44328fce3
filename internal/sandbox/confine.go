package sandbox

import (
	"errors"
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

// clean turns a path inside into one relative to the root; "." is the root itself.
func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "."
	}
	return name
}

// closeFD closes a descriptor through which nothing was written that could still be lost.
func closeFD(fd int) { _ = unix.Close(fd) }
