package schedule

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
)

// from lists due times after a time, as the zone's clock shows them.
func from(t *testing.T, text, zone, after string, n int) []string {
	t.Helper()
	s, err := Parse("web", text, zone, 0)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", after, s.zone)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for range n {
		at = s.Next(at)
		all = append(all, at.In(s.zone).Format("2006-01-02 15:04 -0700"))
	}
	return all
}

func TestNext(t *testing.T) {
	for name, tc := range map[string]struct {
		cron, zone, after string
		want              []string
	}{
		"the seed's fortnights": {"0 2 1,15 * *", "", "2026-01-20 00:00",
			[]string{"2026-02-01 02:00 +0000", "2026-02-15 02:00 +0000", "2026-03-01 02:00 +0000"}},
		"a due time is not due again": {"0 2 1,15 * *", "UTC", "2026-02-01 02:00", []string{"2026-02-15 02:00 +0000"}},
		"over the year":               {"0 2 1,15 * *", "", "2026-12-15 02:00", []string{"2027-01-01 02:00 +0000"}},
		"leap days":                   {"30 4 29 2 *", "", "2026-01-01 00:00", []string{"2028-02-29 04:30 +0000", "2032-02-29 04:30 +0000"}},
		"months without a 31st":       {"0 0 31 * *", "", "2026-03-01 00:00", []string{"2026-03-31 00:00 +0000", "2026-05-31 00:00 +0000"}},
		"by the week":                 {"0 3 * * mon", "Asia/Kolkata", "2026-11-24 00:00", []string{"2026-11-30 03:00 +0530"}},
		"skipped in spring":           {"30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", []string{"2026-03-29 03:30 +0200", "2026-03-30 02:30 +0200"}},
		"twice in autumn":             {"30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", []string{"2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"}},
		"hourly in autumn":            {"15 1,2,3 * * *", "Europe/Berlin", "2026-10-25 00:00", []string{"2026-10-25 01:15 +0200", "2026-10-25 02:15 +0200", "2026-10-25 03:15 +0100"}},
		"the clock of New York":       {"0 2 1,15 * *", "America/New_York", "2026-03-02 00:00", []string{"2026-03-15 02:00 -0400", "2026-04-01 02:00 -0400"}},
		"daily":                       {"@daily", "", "2026-02-28 12:00", []string{"2026-03-01 00:00 +0000"}},
	} {
		if d := cmp.Diff(tc.want, from(t, tc.cron, tc.zone, tc.after, len(tc.want))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ cron, zone string }{
		{"", ""}, {"x", ""}, {"0 2 1,15 *", ""}, {"0 25 * * *", ""}, {"0 2 30 2 *", ""}, {"@every 1h", ""}, {"0 2 * * *", "Moon/Tycho"}, {"0 2 * * *", "Local"},
	} {
		if _, err := Parse("web", tc.cron, tc.zone, 0); fault.KindOf(err) != fault.Input {
			t.Errorf("%q in %q: %v", tc.cron, tc.zone, err)
		}
	}
}

// A decade of fortnights: 24 a year, whatever the zone and the jitter, and never two within a week.
func TestYears(t *testing.T) {
	for _, zone := range []string{"", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Australia/Lord_Howe"} {
		for _, jitter := range []time.Duration{0, time.Hour, 3 * 24 * time.Hour} {
			s, err := Parse("web", "30 2 1,15 * *", zone, jitter)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Date(2020, 1, 10, 0, 0, 0, 0, time.UTC)
			n, last := 0, start
			for at := s.Next(start); at.Before(start.AddDate(10, 0, 0)); at = s.Next(at) {
				if n > 0 && at.Sub(last) < 7*24*time.Hour {
					t.Errorf("%q, jitter %v: %v follows %v", zone, jitter, at, last)
				}
				n++
				last = at
			}
			if n != 240 {
				t.Errorf("%q, jitter %v: %d due times in ten years", zone, jitter, n)
			}
			if got := s.Missed(start, last.Add(time.Hour)); got != last {
				t.Errorf("%q, jitter %v: missed %v, the last is %v", zone, jitter, got, last)
			}
		}
	}
}

func TestMissed(t *testing.T) {
	s, err := Parse("web", "0 2 1,15 * *", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	day := func(month time.Month, day int) time.Time { return time.Date(2026, month, day, 2, 0, 0, 0, time.UTC) }
	if got := s.Missed(day(1, 15), day(1, 31)); !got.IsZero() {
		t.Errorf("nothing is due, but %v", got)
	}
	if got := s.Missed(day(1, 15), day(6, 20)); got != day(6, 15) {
		t.Errorf("half a year: %v", got)
	}
	if got := s.Missed(day(1, 15), day(2, 1)); got != day(2, 1) {
		t.Errorf("this moment: %v", got)
	}
}

func TestJitter(t *testing.T) {
	late := map[time.Duration]bool{}
	for _, name := range []string{"a", "b", "c", "d"} {
		s, err := Parse(name, "0 2 1,15 * *", "", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		due := time.Date(2026, 2, 1, 2, 0, 0, 0, time.UTC)
		at := s.Next(due.Add(-time.Hour))
		if at.Before(due) || !at.Before(due.Add(time.Hour)) || at != s.Next(due.Add(-time.Minute)) {
			t.Errorf("%s is due at %v", name, at)
		}
		if next := s.Next(at); next.Month() != time.February || next.Day() != 15 {
			t.Errorf("%s is due again at %v", name, next)
		}
		late[at.Sub(due)] = true
	}
	if len(late) < 3 {
		t.Errorf("they are all due at once: %v", late)
	}
}
