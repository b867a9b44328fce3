package hold

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ingot/internal/fault"
)

// Try takes an exclusive lock on a file, which is made if it is missing, until the returned function is called. Where
// another process has it, Try fails with fault.Exists and tells the name that the other one gave when it took the lock.
func Try(path, name string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := lock(path)
	defer func() {
		if err != nil && f != nil {
			f.Close()
		}
	}()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		text, err := io.ReadAll(io.LimitReader(f, 200))
		if err != nil {
			return nil, err
		}
		return nil, fault.Newf(fault.Exists, "%s is held by %s", path, strings.TrimSpace(string(text)))
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%s (process %d)\n", name, os.Getpid()), 0); err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}
