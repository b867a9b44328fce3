// Package catalog records what was released: each image once, with its packages and its verdict, and with
// an AMI per region. It is what the API and the page show, and what retirement goes by.
//
// Store is the interface; package catalogtest is what every implementation of it has to pass.
package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"time"

	"ingot/internal/fault"
)

// The states of a release, and of each of its AMIs, in the order in which they are passed through.
const (
	Candidate  = "candidate"  // built and recorded
	Verified   = "verified"   // its boot test and audit are good
	Public     = "public"     // anybody may launch it
	Deprecated = "deprecated" // a newer one is recommended; it can still be launched
	Retired    = "retired"    // it is gone, the record stays
)

// States returns the states in order.
func States() []string { return []string{Candidate, Verified, Public, Deprecated, Retired} }

// rank returns the place of a state in the order, -1 for an unknown one.
func rank(state string) int { return slices.Index(States(), state) }

// Release is one image as published. Times are in UTC and whole seconds.
type Release struct {
	ID          string          `json:"id"`   // as NewID makes it
	Name        string          `json:"name"` // of the recipe
	Description string          `json:"description,omitempty"`
	Distro      string          `json:"distro"`
	Version     string          `json:"version"` // the distribution's release: 12, rolling, 6.10
	Arch        string          `json:"arch"`    // as EC2 spells it: x86_64, arm64
	Kind        string          `json:"kind"`    // of root device: ebs, instance-store
	Date        time.Time       `json:"date"`
	LockSHA256  string          `json:"lock_sha256,omitempty"`
	DiskSHA256  string          `json:"disk_sha256,omitempty"`
	DiskSize    int64           `json:"disk_size"` // bytes
	Blocks      int             `json:"blocks"`    // of 512 KiB, that the snapshot stores
	State       string          `json:"state"`
	Packages    []Package       `json:"packages,omitempty"` // by name and architecture
	Verdict     json.RawMessage `json:"verdict,omitempty"`  // of the boot tests, as these wrote them: see Verdicts
	Timings     []Timing        `json:"timings,omitempty"`  // of the steps that made it, in order
	AMIs        []AMI           `json:"amis"`               // by region

	// What stores keep beside. Put takes a History over where the store has none of that release, which is how a
	// catalogue is copied, and leaves the other two alone.
	History   []Change   `json:"history,omitempty"`   // of State, in order
	Documents []Document `json:"documents,omitempty"` // by name
	Check     *Check     `json:"check,omitempty"`     // of its packages, the last one
}

// Verdicts splits Verdict into the reports of the boot tests, one for each way to boot. An ingot that recorded only one of them did so
// without a list.
func (r *Release) Verdicts() (all []json.RawMessage) {
	if raw := bytes.TrimSpace(r.Verdict); bytes.HasPrefix(raw, []byte("{")) {
		return []json.RawMessage{raw}
	}
	_ = json.Unmarshal(r.Verdict, &all) // what is neither holds none
	return all
}

// Change says since when a release has been in a state. What was recorded by an ingot that kept no such times
// has none.
type Change struct {
	State string    `json:"state"`
	At    time.Time `json:"at"`
}

// Package is a package inside an image.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"` // as the distribution spells it
	Source  string `json:"source,omitempty"`
}

// Timing says how long a step took.
type Timing struct {
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
}

// AMI is a release in one region; there is one at most for each.
type AMI struct {
	Region     string    `json:"region"`
	ImageID    string    `json:"image_id"`
	SnapshotID string    `json:"snapshot_id,omitempty"` // none for instance store
	Name       string    `json:"name"`
	State      string    `json:"state"`
	Created    time.Time `json:"created"`
	Public     bool      `json:"public"`
}

// Filter selects releases. An empty field selects all. With Region, a release is selected if it has an AMI
// there that is not retired, and comes with that AMI alone.
type Filter struct {
	Distro, Version, Name, Arch, Region, Kind, State string

	Live bool // only what can be launched: neither a candidate nor retired; retired AMIs are left out

	// Package, of List, selects releases that hold a package of this name, and of a version that begins with
	// PackageVersion. They come with these as their Packages.
	Package, PackageVersion string

	Limit  int    // of List: releases to a page; default 50, at most 1000
	Cursor string // of List: next of the page before, or what After returns
}

// Store keeps releases. Its methods may be called by many goroutines. What does not exist is an error of
// kind fault.Missing, what makes no sense one of kind fault.Input.
type Store interface {
	// Put records a release, or updates the record of the same ID. It takes nothing back: AMIs that the
	// record has and r lacks stay, and the state stays when it is further on. So a step that is run again
	// changes nothing.
	Put(ctx context.Context, r Release) error
	// PutAMI adds an AMI to a release, or replaces the one in its region.
	PutAMI(ctx context.Context, releaseID string, a AMI) error
	// SetState moves a release to any state, except out of Retired. AMIs have states of their own, and stay.
	SetState(ctx context.Context, id, state string) error
	// PutDocument adds a file to a release, or replaces the one of its name. Of d, Name and Type count.
	PutDocument(ctx context.Context, releaseID string, d Document, body []byte) error
	// PutCheck records what a look at the repositories found about a release, instead of the last one.
	PutCheck(ctx context.Context, releaseID string, c Check) error
	// Get returns a release with all that is known about it.
	Get(ctx context.Context, id string) (Release, error)
	// Document returns a file of a release.
	Document(ctx context.Context, releaseID, name string) (Document, []byte, error)
	// List returns releases without what only Get returns (Packages, Verdict, Timings, History, Documents, Check),
	// newest first, and a cursor for the next page: "" when there is none.
	List(ctx context.Context, f Filter) (releases []Release, next string, err error)
	// Latest returns, as List does, the newest release of each name, architecture and kind that is Public or
	// Verified (that is in f.State if that is set), by name, architecture, kind. Retired AMIs are left out.
	Latest(ctx context.Context, f Filter) ([]Release, error)
	// Version returns what differs from an earlier answer of the same Store if anything was written in between,
	// by whomever.
	Version(ctx context.Context) (string, error)
	Close() error
}

const (
	defaultLimit = 50
	maxLimit     = 1000
)

// NewID returns the ID of a release: the same for the same image, however often it is made. digest is the
// SHA-256 of its disk in hexadecimal.
func NewID(name string, date time.Time, digest string) string {
	return fmt.Sprintf("%s-%s-%.12s", name, date.UTC().Format("20060102"), digest)
}

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// Normalize checks a release and brings it into the form in which stores keep it. It is for stores.
func Normalize(r *Release) error {
	refuse := func(format string, args ...any) error {
		return fault.Newf(fault.Input, "recording release %q: %w", r.ID, fmt.Errorf(format, args...))
	}
	switch {
	case !validID.MatchString(r.ID):
		return refuse("the ID is not made of letters, digits, '.', '_' and '-'")
	case r.Name == "" || r.Distro == "" || r.Arch == "" || r.Kind == "":
		return refuse("name, distro, arch and kind must be set")
	case r.Date.IsZero():
		return refuse("it has no date")
	case rank(r.State) < 0:
		return refuse("unknown state %q", r.State)
	case len(r.Verdict) > 0 && !json.Valid(r.Verdict):
		return refuse("its verdict is not JSON")
	}
	r.Date = r.Date.UTC().Truncate(time.Second)
	r.Packages = slices.Clone(r.Packages)
	slices.SortFunc(r.Packages, func(a, b Package) int { return compare(a.Name, b.Name, a.Arch, b.Arch) })
	for i, p := range r.Packages {
		if p.Name == "" {
			return refuse("a package has no name")
		}
		if i > 0 && p.Name == r.Packages[i-1].Name && p.Arch == r.Packages[i-1].Arch {
			return refuse("package %s:%s is named twice", p.Name, p.Arch)
		}
	}
	r.AMIs = slices.Clone(r.AMIs)
	slices.SortFunc(r.AMIs, func(a, b AMI) int { return compare(a.Region, b.Region) })
	for i := range r.AMIs {
		if err := NormalizeAMI(&r.AMIs[i]); err != nil {
			return refuse("%w", err)
		}
		if i > 0 && r.AMIs[i].Region == r.AMIs[i-1].Region {
			return refuse("there are two AMIs in %s", r.AMIs[i].Region)
		}
	}
	return nil
}

// NormalizeAMI does for an AMI what Normalize does for a release.
func NormalizeAMI(a *AMI) error {
	switch {
	case a.Region == "" || a.ImageID == "":
		return fault.Newf(fault.Input, "an AMI needs a region and an id (%q, %q)", a.Region, a.ImageID)
	case rank(a.State) < 0:
		return fault.Newf(fault.Input, "AMI %s: unknown state %q", a.ImageID, a.State)
	case a.Created.IsZero():
		return fault.Newf(fault.Input, "AMI %s: no time of creation", a.ImageID)
	}
	a.Created = a.Created.UTC().Truncate(time.Second)
	return nil
}

// compare orders by the pairs given, the first difference decides.
func compare(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != pairs[i+1] {
			if pairs[i] < pairs[i+1] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// Later returns the state that is further on.
func Later(a, b string) string {
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// missing is the error for a release that is not there.
func missing(id string) error {
	return fault.New(fault.Missing, fmt.Errorf("release %q is not in the catalogue", id), "`ingot catalog` lists what is")
}

// noDocument is the error for a document that a release has not.
func noDocument(releaseID, name string) error {
	return fault.New(fault.Missing, fmt.Errorf("release %q has no document %q in the catalogue", releaseID, name), "`ingot catalog "+releaseID+"` lists what it has")
}

// All lists every release that a filter selects, as List does, page after page. An error is the last of the pairs.
func All(ctx context.Context, s Store, f Filter) iter.Seq2[Release, error] {
	return func(yield func(Release, error) bool) {
		for f.Limit = maxLimit; ; {
			page, next, err := s.List(ctx, f)
			if err != nil {
				yield(Release{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
			if f.Cursor = next; next == "" {
				return
			}
		}
	}
}
