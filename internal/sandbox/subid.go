package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"ingot/internal/fault"
)

// enoughIDs is how many subordinate ids a tree needs: distributions use the ids up to 65534 (nobody).
const enoughIDs = 65535

// idRange is a run of subordinate ids.
type idRange struct{ start, count int64 }

// subordinate returns the ranges that a file of the form of subuid(5) grants to this user.
func subordinate(file string) ([]idRange, error) {
	names := currentUser()
	name := names[len(names)-1]
	kind := strings.TrimPrefix(file, "/etc/")
	hint := fmt.Sprintf("run: sudo usermod --add-%ss 100000-165535 %s (another range of 65536 if that one is taken)", kind, name)
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.New(fault.Host, fmt.Errorf("reading subordinate ids: %w", err), hintUIDMap+"; then "+hint)
	}
	defer f.Close()
	ranges, err := parseSubordinate(f, names)
	if err != nil {
		return nil, fault.Newf(fault.Host, "reading %s: %w", file, err)
	}
	var total int64
	for _, r := range ranges {
		total += r.count
	}
	if total < enoughIDs {
		return nil, fault.New(fault.Host, fmt.Errorf("%s grants user %s %d ids, and a tree needs %d", file, name, total, enoughIDs), hint)
	}
	return ranges, nil
}

// parseSubordinate reads "user:start:count" lines, and returns the ranges of the user with these names.
// Malformed lines are passed over, as newuidmap(1) does.
func parseSubordinate(r io.Reader, names []string) ([]idRange, error) {
	var ranges []idRange
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) != 3 || !slices.Contains(names, f[0]) {
			continue
		}
		start, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 {
			ranges = append(ranges, idRange{int64(start), int64(count)})
		}
	}
	return ranges, lines.Err()
}

// mappedIDs reads a /proc/self/uid_map and returns the mapping of its inside to itself.
func mappedIDs(file string) ([]syscall.SysProcIDMap, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []syscall.SysProcIDMap
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("reading %s: %q is no mapping", file, line)
		}
		inside, err1 := strconv.Atoi(f[0])
		count, err2 := strconv.Atoi(f[2])
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("reading %s: %q is no mapping", file, line)
		}
		all = append(all, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: count})
	}
	return all, nil
}
