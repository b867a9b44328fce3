package retire

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const dayLong = 24 * time.Hour

var today = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// ago returns a release that is some days old, verified and launchable, in us-east-1.
func ago(daysOld int, changes ...func(*Image)) Image {
	at := today.Add(-time.Duration(daysOld) * dayLong)
	i := Image{Release: fmt.Sprintf("a-%s", at.Format("20060102")), Name: "a", Arch: "x86_64", Kind: "ebs", Date: at, Verified: true,
		Region: "us-east-1", ID: fmt.Sprintf("ami-%d", daysOld), Created: at, Noted: true, Available: true, Deprecated: at.Add(2 * 365 * dayLong)}
	for _, c := range changes {
		c(&i)
	}
	return i
}

func deprecated(daysAgo int) func(*Image) {
	return func(i *Image) { i.Deprecated = today.Add(-time.Duration(daysAgo) * dayLong) }
}

func disabled(daysAgo int) func(*Image) {
	return func(i *Image) {
		i.Available, i.Disabled = false, today.Add(-time.Duration(daysAgo)*dayLong)
		i.Deprecated = i.Disabled.Add(-40 * dayLong)
	}
}

func launched(daysAgo int) func(*Image) {
	return func(i *Image) { i.LastLaunched = today.Add(-time.Duration(daysAgo) * dayLong) }
}

func candidate(i *Image) { i.Verified = false }
func used(i *Image)      { i.Users = []string{"i-1", "lt-1", "i-2", "i-3"} }
func vanished(i *Image)  { i.Gone, i.Available = true, false }
func arm(i *Image)       { i.Arch = "arm64" }
func store(i *Image)     { i.Kind = "instance-store" }
func other(i *Image)     { i.Name = "b" }
func north(i *Image)     { i.Region = "eu-north-1" }
func guarded(i *Image)   { i.Protected = true }
func undated(i *Image)   { i.Disabled = time.Time{} }
func unnoted(i *Image)   { i.Noted = false }

func TestDecide(t *testing.T) {
	t.Parallel()
	month := 30 * dayLong
	usual := Policy{Releases: 2, Age: 20 * dayLong, Launched: month, Disable: month, Deregister: month}
	for _, c := range []struct {
		name   string
		policy Policy
		images []Image
		want   string // of the last image
		why    string
	}{
		{"the only one", Policy{}, []Image{ago(600)}, "keep", "no newer verified release can be launched in us-east-1"},
		{"the newest verified, below a candidate", Policy{}, []Image{ago(0, candidate), ago(600)}, "keep", "no newer verified"},
		{"superseded", Policy{}, []Image{ago(0), ago(600)}, "deprecate", "superseded by a-20261124"},
		{"order of the list does not count", Policy{}, []Image{ago(600), ago(0)}, "keep", "no newer verified"},
		{"one of two", usual, []Image{ago(0), ago(600)}, "keep", "1 newer verified of 2 to keep"},
		{"a candidate between does not count", usual, []Image{ago(0), ago(1, candidate), ago(600)}, "keep", "1 newer"},
		{"a deprecated one between does not count", usual, []Image{ago(0), ago(100, deprecated(1)), ago(600)}, "keep", "1 newer"},
		{"a disabled one between does not count", usual, []Image{ago(0), ago(100, disabled(1)), ago(600)}, "keep", "1 newer"},
		{"a gone one between does not count", usual, []Image{ago(0), ago(100, vanished), ago(600)}, "keep", "1 newer"},
		{"third of two", usual, []Image{ago(0), ago(1), ago(600)}, "deprecate", "superseded by a-20261124"},
		{"a candidate that was superseded", usual, []Image{ago(0), ago(1), ago(600, candidate)}, "deprecate", "superseded"},
		{"young", usual, []Image{ago(0), ago(1), ago(19)}, "keep", "younger than 20 days until 2026-11-25"},
		{"no longer young", usual, []Image{ago(0), ago(1), ago(20)}, "deprecate", "superseded"},
		{"other architecture", Policy{}, []Image{ago(0, arm), ago(600)}, "keep", "no newer"},
		{"other kind", Policy{}, []Image{ago(0, store), ago(600)}, "keep", "no newer"},
		{"other name", Policy{}, []Image{ago(0, other), ago(600)}, "keep", "no newer"},
		{"newer one not in this region", Policy{}, []Image{ago(0, north), ago(600)}, "keep", "no newer"},
		{"used ones are deprecated all the same", usual, []Image{ago(0), ago(1), ago(600, used)}, "deprecate", "superseded"},
		{"freshly deprecated", usual, []Image{ago(0), ago(1), ago(600, deprecated(29))}, "keep", "deprecated, disabled after 2026-11-25"},
		{"long deprecated", usual, []Image{ago(0), ago(1), ago(600, deprecated(30))}, "disable", "deprecated since 2026-10-25, superseded by a-20261124"},
		{"long deprecated, the newest", usual, []Image{ago(600, deprecated(30))}, "keep", "no newer"},
		{"used", usual, []Image{ago(0), ago(1), ago(600, deprecated(30), used)}, "keep", "used by i-1, lt-1, i-2 and 1 more"},
		{"launched lately", usual, []Image{ago(0), ago(1), ago(600, deprecated(30), launched(29))}, "keep", "launched on 2026-10-26, within 30 days"},
		{"launched long ago", usual, []Image{ago(0), ago(1), ago(600, deprecated(30), launched(31))}, "disable", ""},
		{"launches do not count", Policy{}, []Image{ago(0), ago(600, deprecated(30), launched(0))}, "disable", ""},
		{"freshly disabled", usual, []Image{ago(0), ago(1), ago(600, disabled(29))}, "keep", "disabled, deregistered after 2026-11-25"},
		{"long disabled", usual, []Image{ago(0), ago(1), ago(600, disabled(30))}, "deregister", "disabled since 2026-10-25, superseded by a-20261124"},
		{"disabled, and now one to keep", usual, []Image{ago(0), ago(600, disabled(30))}, "keep", "1 newer verified of 2 to keep"},
		{"disabled, still used", usual, []Image{ago(0), ago(1), ago(600, disabled(30), used)}, "keep", "used by"},
		{"disabled, launched before that", usual, []Image{ago(0), ago(1), ago(600, disabled(30), launched(29))}, "keep", "launched on"},
		{"disabled, protected", usual, []Image{ago(0), ago(1), ago(600, disabled(30), guarded)}, "keep", "protected"},
		{"disabled by somebody", usual, []Image{ago(0), ago(1), ago(600, disabled(30), undated)}, "disable", "nobody wrote down"},
		{"deprecated, which is not noted", usual, []Image{ago(0), ago(1), ago(600, deprecated(29), unnoted)}, "record", "deprecated, disabled after"},
		{"disabled, which is not noted", usual, []Image{ago(0), ago(1), ago(600, disabled(29), unnoted)}, "record", "disabled, deregistered after"},
		{"the next stage notes it, too", usual, []Image{ago(0), ago(1), ago(600, deprecated(30), unnoted)}, "disable", "deprecated since"},
		{"deprecated by somebody, and one to keep", usual, []Image{ago(0), ago(600, deprecated(29), unnoted)}, "keep", "1 newer"},
		{"gone", usual, []Image{ago(0), ago(1), ago(600, vanished)}, "record", "it is gone"},
		{"gone, though it is one to keep", usual, []Image{ago(0), ago(600, vanished)}, "keep", "1 newer"},
	} {
		all := Decide(c.policy, c.images, today)
		got := all[len(all)-1]
		if string(got.Action) != c.want || !strings.Contains(got.Reason, c.why) {
			t.Errorf("%s: %s (%s), not %s (%s)", c.name, got.Action, got.Reason, c.want, c.why)
		}
	}
}

// Whatever there is: a policy never touches so many that fewer than it promises stay launchable, and nothing that is used,
// young or lately launched is disabled or deregistered.
func TestDecideHoldsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		span := func(name string) time.Duration {
			return time.Duration(rapid.IntRange(0, 60).Draw(t, name)) * dayLong
		}
		p := Policy{Releases: rapid.IntRange(0, 4).Draw(t, "releases"), Age: span("age"), Launched: span("launched"), Disable: span("disable"), Deregister: span("deregister")}
		var images []Image
		for n := range rapid.IntRange(1, 12).Draw(t, "images") {
			i := ago(rapid.IntRange(0, 200).Draw(t, "age of image"))
			i.ID = fmt.Sprintf("ami-%d", n)
			for _, change := range []func(*Image){candidate, used, vanished, guarded, unnoted, deprecated(int(span("deprecated") / dayLong)), disabled(int(span("disabled") / dayLong)), launched(int(span("launch") / dayLong))} {
				if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
					change(&i)
				}
			}
			images = append(images, i)
		}
		recommended, left := 0, 0
		for _, d := range Decide(p, images, today) {
			good := d.Verified && d.Available && !d.deprecated(today)
			if good {
				recommended++
			}
			if good && d.Action == Keep {
				left++
			}
			if d.Action == Keep {
				continue
			}
			if d.Action != Deprecate && d.Action != Record && (len(d.Users) > 0 || today.Sub(d.LastLaunched) < p.Launched) {
				t.Errorf("%s of what is used or was launched: %+v", d.Action, d)
			}
			if today.Sub(d.Created) < p.Age {
				t.Errorf("%s of what is young: %+v", d.Action, d)
			}
			if d.Action == Deregister && (d.Available || d.Protected || today.Sub(d.Disabled) < p.Deregister) {
				t.Errorf("deregistered too early: %+v", d)
			}
			if d.Action == Disable && d.Available && today.Sub(d.Deprecated) < p.Disable {
				t.Errorf("disabled too early: %+v", d)
			}
		}
		if promised := min(recommended, max(p.Releases, 1)); left < promised {
			t.Errorf("%d recommended ones stay, and %d were promised", left, promised)
		}
	})
}
