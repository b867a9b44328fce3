package archive

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ingot/internal/deb"
	"ingot/internal/fault"
)

// maxFuture is how far in the future an archive may be dated before the clock of one side must be wrong.
const maxFuture = time.Hour

// release is what a Release file says (wiki.debian.org/DebianRepository/Format).
type release struct {
	suite, codename string
	date            time.Time
	validUntil      time.Time // zero for no limit
	byHash          bool
	allSeparate     bool // packages of Architecture: all have an index of their own
	pin             int  // apt's default priority of the packages: 500, 100 (backports) or 1 (experimental)
	files           map[string]entry
}

// entry is a file that a Release vouches for.
type entry struct {
	sha256 string
	size   int64
}

// parseRelease reads the text of a Release file. Of its list of files it keeps those below the given
// folders, whose paths are relative to the Release's own folder.
func parseRelease(text []byte, folders ...string) (*release, error) {
	p, err := deb.ReadParagraph(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r := &release{
		suite: p.Get("Suite"), codename: p.Get("Codename"), byHash: isYes(p.Get("Acquire-By-Hash")),
		pin: 500, files: make(map[string]entry),
	}
	if r.date, err = parseDate(p.Get("Date")); err != nil {
		return nil, fmt.Errorf("Date: %w", err)
	}
	if v, ok := p.Lookup("Valid-Until"); ok {
		if r.validUntil, err = parseDate(v); err != nil {
			return nil, fmt.Errorf("Valid-Until: %w", err)
		}
	}
	if isYes(p.Get("NotAutomatic")) {
		if r.pin = 1; isYes(p.Get("ButAutomaticUpgrades")) {
			r.pin = 100
		}
	}
	for _, arch := range strings.Fields(p.Get("Architectures")) {
		if arch == "all" && p.Get("No-Support-for-Architecture-all") != "Packages" {
			r.allSeparate = true
		}
	}
	sums, ok := p.Lookup("SHA256")
	if !ok {
		return nil, errors.New("it has no SHA256 list, and weaker sums are not accepted")
	}
	for line := range strings.Lines(sums) {
		f := strings.Fields(line)
		if len(f) != 3 || !hasFolder(f[2], folders) {
			continue
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 || !isSHA256(f[0]) {
			return nil, fmt.Errorf("SHA256: %.200q is no sum, size and path", line)
		}
		r.files[f[2]] = entry{f[0], size}
	}
	return r, nil
}

// check says whether the release is the one asked for, and fit for use at a time.
func (r *release) check(suite string, now time.Time) error {
	switch {
	case suite != r.suite && suite != r.codename:
		return fault.New(fault.Trust, fmt.Errorf("it is for suite %q, codename %q, and not for %q", r.suite, r.codename, suite),
			"a mirror that serves one suite under the name of another lies or is misconfigured; use another one")
	case !r.validUntil.IsZero() && now.After(r.validUntil):
		return fault.New(fault.Trust, fmt.Errorf("it expired on %s", r.validUntil.Format(time.RFC3339)),
			"the mirror is stale, or somebody withholds updates: use another mirror, or check this machine's clock")
	case r.date.After(now.Add(maxFuture)):
		return fault.New(fault.Trust, fmt.Errorf("it is dated in the future, %s", r.date.Format(time.RFC3339)),
			"check this machine's clock")
	}
	return nil
}

// parseDate reads the date of RFC 5322 that archives write, always in UTC.
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		t, err := time.Parse(layout, s)
		if name, offset := t.Zone(); err == nil && (offset != 0 || name == "UTC" || name == "GMT" || name == "Z" || name == "") {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.60q is no date in UTC", s)
}

func hasFolder(path string, folders []string) bool {
	for _, f := range folders {
		if strings.HasPrefix(path, f+"/") {
			return true
		}
	}
	return false
}

func isYes(s string) bool { return strings.EqualFold(s, "yes") }

func isSHA256(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
