// Package retire takes AMIs out of use by a policy, in stages: deprecated, which recommends a newer one; disabled, which
// nobody can launch, and which can be undone; deregistered, with its snapshot, which is for good.
//
// Decide is the policy, a pure function of what is known. Retirer finds that out, and does what was decided.
package retire

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/internal/publish/attribute"
)

// Policy says which images stay, and how long a stage lasts. The zero Policy keeps the newest verified release alone.
type Policy struct {
	Releases   int           // newest verified releases of a name, architecture and kind that stay; less than 1 is 1
	Age        time.Duration // images that are younger stay
	Launched   time.Duration // images that were launched within it are not disabled, nor deregistered
	Disable    time.Duration // from being deprecated to being disabled, at least
	Deregister time.Duration // from being disabled to being deregistered, at least
}

// Action is what is to be done with an image.
type Action string

const (
	Keep       Action = "keep"
	Deprecate  Action = "deprecate"
	Disable    Action = "disable"
	Deregister Action = "deregister"
	Record     Action = "record" // it is done already, only the catalogue does not know
)

// Image is an AMI of a release, and all that the policy goes by.
type Image struct {
	Release          string    // the ID of its release
	Name, Arch, Kind string    // of the release
	Date             time.Time // of the release
	Verified         bool      // the release's boot test and audit were good
	Region, ID       string
	Created          time.Time // of the AMI
	Noted            bool      // the catalogue has it as deprecated, or further on

	// As EC2 has it.
	Gone         bool
	Available    bool
	Public       bool
	Protected    bool      // from being deregistered
	Deprecated   time.Time // zero: not at all
	Disabled     time.Time // zero where it is not disabled, or nobody wrote down when
	LastLaunched time.Time // zero: never; EC2 tells a day late
	Users        []string  // what refers to it: instances, launch templates, parameters, other accounts
}

// Decision says what becomes of an image, and why.
type Decision struct {
	Image
	Action Action
	Reason string
}

// String is the decision as one line.
func (d Decision) String() string {
	return fmt.Sprintf("%-14s %-21s %-10s %s: %s", d.Region, d.ID, d.Action, d.Release, d.Reason)
}

// Decide returns a decision for each image, in the order of the images. It must be given all images of the releases that it
// is about, and of newer ones: what is not there does not stand in for what is old.
func Decide(p Policy, images []Image, now time.Time) []Decision {
	all := make([]Decision, len(images))
	for n, i := range images {
		d := Decision{Image: i}
		d.Action, d.Reason = p.decide(i, newer(images, i, now), now)
		all[n] = d
	}
	return all
}

// newer returns the verified releases, newest first, that came after an image and that the image's region still recommends.
func newer(images []Image, than Image, now time.Time) []string {
	var found []Image
	for _, i := range images {
		if i.Verified && i.Available && !i.deprecated(now) && i.after(than) &&
			i.Region == than.Region && i.Name == than.Name && i.Arch == than.Arch && i.Kind == than.Kind {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b Image) int { return -cmp.Or(a.Date.Compare(b.Date), cmp.Compare(a.Release, b.Release)) })
	var names []string
	for _, i := range found {
		names = append(names, i.Release)
	}
	return names
}

// after says whether the image is of a newer release.
func (i Image) after(than Image) bool {
	return cmp.Or(i.Date.Compare(than.Date), cmp.Compare(i.Release, than.Release)) > 0
}

func (i Image) deprecated(now time.Time) bool { return attribute.Deprecated(i.Deprecated, now) }

// decide applies the policy to one image. newer are the verified releases that came after it.
func (p Policy) decide(i Image, newer []string, now time.Time) (Action, string) {
	releases := max(p.Releases, 1)
	switch {
	case len(newer) == 0:
		return Keep, "no newer verified release can be launched in " + i.Region
	case len(newer) < releases:
		return Keep, fmt.Sprintf("%d newer verified of %d to keep", len(newer), releases)
	case now.Sub(i.Created) < p.Age:
		return Keep, fmt.Sprintf("younger than %s until %s", days(p.Age), day(i.Created.Add(p.Age)))
	}
	disabled, superseded := !i.Available && !i.Gone, "superseded by "+newer[0]
	switch {
	case i.Gone:
		return Record, "it is gone"
	case !disabled && !i.deprecated(now):
		return Deprecate, superseded
	}
	action, reason := p.further(i, disabled, superseded, now)
	if action == Keep && !i.Noted { // a run was killed, or the catalogue could not be written
		return Record, reason
	}
	return action, reason
}

// further decides about an image that is deprecated or disabled.
func (p Policy) further(i Image, disabled bool, superseded string, now time.Time) (Action, string) {
	switch {
	case disabled && !i.Disabled.IsZero() && now.Before(i.Disabled.Add(p.Deregister)):
		return Keep, fmt.Sprintf("disabled, deregistered after %s", day(i.Disabled.Add(p.Deregister)))
	case !disabled && now.Before(i.Deprecated.Add(p.Disable)):
		return Keep, fmt.Sprintf("deprecated, disabled after %s", day(i.Deprecated.Add(p.Disable)))
	case len(i.Users) > 0:
		return Keep, "used by " + several(i.Users)
	case p.Launched > 0 && now.Sub(i.LastLaunched) < p.Launched:
		return Keep, fmt.Sprintf("launched on %s, within %s", day(i.LastLaunched), days(p.Launched))
	case disabled && i.Disabled.IsZero(): // by somebody else: the time is counted from now
		return Disable, "disabled, but nobody wrote down since when"
	case disabled && i.Protected:
		return Keep, "protected from being deregistered"
	case disabled:
		return Deregister, fmt.Sprintf("disabled since %s, %s", day(i.Disabled), superseded)
	}
	return Disable, fmt.Sprintf("deprecated since %s, %s", day(i.Deprecated), superseded)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

// several names the first few of many.
func several(names []string) string {
	const most = 3
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}
