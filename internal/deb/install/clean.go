package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"ingot/internal/tree"
)

// leftovers are files that maintainer scripts leave and that differ between two installations of the same
// packages, or tell of the machine and the time that they were made on. Each is made anew when it is missed.
var leftovers = []string{
	"run/*",                        // a tmpfs on a running system, except for the target of /var/lock
	"tmp/*",                        //
	"var/cache/ldconfig/aux-cache", // inode numbers and times of libraries
	"var/lib/dbus/machine-id",      // random
	"var/log/alternatives.log",     // times
	"var/log/apt/*",                // times
	"var/log/bootstrap.log",        // times
	"var/log/dpkg.log",             // times
}

// machineID is emptied, not removed: systemd takes a missing one for a first boot, where an empty one just
// gets filled (machine-id(5)).
const machineID = "etc/machine-id"

// Clean removes from a tree what scripts have left there and no image should have.
func Clean(root string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("cleaning tree: %w", err)
	}
	defer r.Close()
	for _, pattern := range leftovers {
		names, err := fs.Glob(tree.FS(r), pattern)
		if err != nil {
			return fmt.Errorf("cleaning /%s: %w", pattern, err)
		}
		for _, name := range names {
			if name == "run/lock" { // /var/lock leads there (Debian Policy 9.1.4)
				continue
			}
			if err := r.RemoveAll(name); err != nil {
				return fmt.Errorf("removing /%s: %w", name, err)
			}
		}
	}
	if _, err := r.Lstat(machineID); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := r.Remove(machineID); err != nil {
		return fmt.Errorf("emptying /%s: %w", machineID, err)
	}
	if err := r.WriteFile(machineID, nil, 0o644); err != nil {
		return fmt.Errorf("emptying /%s: %w", machineID, err)
	}
	return nil
}
