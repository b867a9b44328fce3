package recipe

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bytes reads a size such as 512MiB, 2GiB or 1073741824. "" is 0. Only powers of 1024 are known: a disk of
// "2GB" would be no whole number of blocks.
func Bytes(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	number, shift := text, 0
	for suffix, s := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			number, shift = strings.TrimSpace(rest), s
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("%q is no size (write 512MiB or 2GiB)", text)
	}
	return n << shift, nil
}

func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no time span (write 90s or 10m)", text)
	}
	return d, nil
}

// Age reads a time span that people count in days: 90d, or what Go reads, such as 36h. "" is 0.
func Age(text string) (time.Duration, error) {
	days, ok := strings.CutSuffix(text, "d")
	if !ok {
		return duration(text)
	}
	const most = 100 * 366 // a century
	n, err := strconv.ParseInt(days, 10, 64)
	if err != nil || n <= 0 || n > most {
		return 0, fmt.Errorf("%q is no time span (write 90d or 36h)", text)
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

// Limit returns the time that a script may take.
func (s Script) Limit() time.Duration { return orDefault(s.Timeout, DefaultScriptTimeout) }

// Limit returns the time that one boot may take.
func (t Test) Limit() time.Duration { return orDefault(t.Timeout, DefaultBootTimeout) }

// orDefault reads a time span that Load has already checked.
func orDefault(text string, def time.Duration) time.Duration {
	if d, err := duration(text); err == nil && d > 0 {
		return d
	}
	return def
}

// DefaultGrace is how long a stage of retirement lasts, and how long ago a launch must be, where a recipe does not say.
const DefaultGrace = 30 * 24 * time.Hour
