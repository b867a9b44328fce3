package tree

import (
	"testing"
	"time"
)

func TestListing(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 5, 30, 0, 0, time.UTC)
	for want, e := range map[string]Entry{
		"drwxrwxrwt     0     0           0 2026-12-01 05:30:00 /tmp":            {Path: "tmp", Mode: 0o041777},
		"-rwsr-xr-x     0     0       59704 2026-12-01 05:30:00 /usr/bin/mount":  {Path: "usr/bin/mount", Mode: 0o104755, Size: 59704},
		"-rwSr-Sr-T     0    42           1 2026-12-01 05:30:00 /odd":            {Path: "odd", Mode: 0o107644, GID: 42, Size: 1},
		"-rwxr-sr-x     0    42           1 2026-12-01 05:30:00 /usr/bin/chage":  {Path: "usr/bin/chage", Mode: 0o102755, GID: 42, Size: 1},
		"lrwxrwxrwx     0     0           0 2026-12-01 05:30:00 /bin -> usr/bin": {Path: "bin", Mode: 0o120777, Target: "usr/bin"},
		"crw-------     0     5        5, 1 2026-12-01 05:30:00 /dev/console":    {Path: "dev/console", Mode: 0o020600, GID: 5, Major: 5, Minor: 1},
		"prw-r-----  1000   100           0 2026-12-01 05:30:00 /run/initctl":    {Path: "run/initctl", Mode: 0o010640, UID: 1000, GID: 100},
	} {
		e.MTime = at
		if got := e.Listing(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
