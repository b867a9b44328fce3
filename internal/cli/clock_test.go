package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// fileClock goes on from the time that a file holds since the file was written: a test turns the clock of programs that
// it starts, and of the ones after they were killed.
type fileClock string

// Now implements journal.Clock.
func (c fileClock) Now() time.Time {
	for {
		text, err := os.ReadFile(string(c))
		if err != nil {
			panic(err)
		}
		info, err := os.Stat(string(c))
		if err != nil {
			panic(err)
		}
		again, err := os.ReadFile(string(c))
		if err != nil {
			panic(err)
		}
		if string(text) != string(again) { // it was turned in between
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			panic(err)
		}
		return at.Add(max(0, time.Since(info.ModTime())))
	}
}

// After implements journal.Clock.
func (c fileClock) After(d time.Duration) <-chan time.Time {
	due, out := c.Now().Add(d), make(chan time.Time, 1)
	go func() {
		for {
			now := c.Now()
			if !now.Before(due) {
				out <- now
				return
			}
			time.Sleep(min(max(due.Sub(now), time.Millisecond), 50*time.Millisecond))
		}
	}()
	return out
}

// turn sets the clock.
func (c fileClock) turn(at time.Time) error {
	next := string(c) + ".next"
	if err := os.WriteFile(next, fmt.Append(nil, at.UTC().Format(time.RFC3339Nano)), 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Clean(string(c)))
}
