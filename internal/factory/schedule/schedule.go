// Package schedule says when a pipeline is due: a cron expression in a time zone, with jitter.
package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
	_ "time/tzdata" // zones are known on machines that have no data of them

	"github.com/netresearch/go-cron"

	"ingot/internal/fault"
)

// Schedule is a cron expression in a time zone. A due time that the zone's clock leaves out in spring comes right
// after the gap; one that it shows twice in autumn counts once, the first time.
type Schedule struct {
	cron   cron.Schedule
	zone   *time.Location
	name   string
	jitter time.Duration
}

// Parse reads a cron expression of five fields, or @daily and the like. The due times of another name are others
// by up to jitter: they are later, by as much each time.
func Parse(name, text, zone string, jitter time.Duration) (*Schedule, error) {
	location, err := time.LoadLocation(zone) // "" is UTC
	if err != nil || zone == "Local" {
		return nil, fault.New(fault.Input, fmt.Errorf("there is no time zone %q", zone), "write it as Europe/Berlin, or leave it out for UTC")
	}
	s, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fault.New(fault.Input, fmt.Errorf("%q is no schedule: %w", text, err), `write minute, hour, day of the month, month and day of the week, such as "0 2 1,15 * *"`)
	}
	// Every 24 hours from whenever the program started is no due time that it could come back to.
	if _, ok := s.(*cron.SpecSchedule); !ok {
		return nil, fault.Newf(fault.Input, "%q is no schedule: it has no fixed times", text)
	}
	if jitter < 0 {
		return nil, fault.Newf(fault.Input, "a jitter of %v is less than nothing", jitter)
	}
	out := &Schedule{s, location, name, jitter}
	if out.next(time.Unix(0, 0)).IsZero() {
		return nil, fault.Newf(fault.Input, "%q is no schedule: there is no such day", text)
	}
	return out, nil
}

// next is the next time by the cron expression alone; zero when there is none.
func (s *Schedule) next(t time.Time) time.Time {
	n := s.cron.Next(t.In(s.zone))
	if n.IsZero() {
		return n
	}
	// In autumn, the clock shows half an hour or an hour twice: this time is the second of two.
	if sameClock(n.Add(-time.Hour), n) || sameClock(n.Add(-30*time.Minute), n) {
		return s.next(n)
	}
	return n.UTC()
}

// sameClock reports whether two times look the same on the wall.
func sameClock(a, b time.Time) bool {
	return a.Format("2006-01-02 15:04") == b.Format("2006-01-02 15:04")
}

// Next returns the first due time after t, in UTC. The jitter is part of it.
func (s *Schedule) Next(t time.Time) time.Time {
	for n := s.next(t.Add(-s.jitter)); ; n = s.next(n) {
		if late := n.Add(s.late(n)); n.IsZero() || late.After(t) {
			return late
		}
	}
}

// late is the jitter of a time: the same for the same name and time.
func (s *Schedule) late(t time.Time) time.Duration {
	if s.jitter == 0 || t.IsZero() {
		return 0
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", s.name, t.Unix()))
	return time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(s.jitter)).Truncate(time.Second)
}

// Missed returns the last due time after since and not after now; zero when there is none. However many were missed,
// one run makes up for them.
func (s *Schedule) Missed(since, now time.Time) (last time.Time) {
	for window := time.Hour; last.IsZero(); window *= 4 { // the last one is looked for from the end
		from := now.Add(-window)
		if !from.After(since) {
			from = since
		}
		for n := s.Next(from); !n.IsZero() && !n.After(now); n = s.Next(n) {
			last = n
		}
		if from.Equal(since) {
			break
		}
	}
	return last
}
