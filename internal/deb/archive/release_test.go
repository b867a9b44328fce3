package archive

import (
	"strings"
	"testing"
	"time"

	"ingot/internal/fault"
)

var sum = strings.Repeat("0a", 32)

func TestParseRelease(t *testing.T) {
	t.Parallel()
	text := "Suite: oldstable-backports\nCodename: bookworm-backports\nDate: Sat,  1 Nov 2026 00:53:02 UTC\n" +
		"Valid-Until: Sat, 28 Nov 2026 00:53:02 GMT\nAcquire-By-Hash: yes\nNotAutomatic: yes\nButAutomaticUpgrades: yes\n" +
		"Architectures: all amd64\nSHA256:\n " + sum + " 12 main/binary-amd64/Packages.xz\n " + sum + "  7 main/source/Sources\n"
	r, err := parseRelease([]byte(text), "main/binary-amd64")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.files) != 1 || r.files["main/binary-amd64/Packages.xz"] != (entry{sum, 12}) {
		t.Errorf("files %v", r.files)
	}
	if !r.byHash || !r.allSeparate || r.pin != 100 || r.date != time.Date(2026, 11, 1, 0, 53, 2, 0, time.UTC) {
		t.Errorf("%+v", r)
	}
	for name, text := range map[string]string{
		"no date":       "Suite: a\nSHA256:\n",
		"local date":    "Date: Sat, 28 Nov 2026 00:53:02 CET\nSHA256:\n",
		"only weak sum": "Date: Sat, 28 Nov 2026 00:53:02 UTC\nMD5Sum:\n",
		"negative size": "Date: Sat, 28 Nov 2026 00:53:02 UTC\nSHA256:\n " + sum + " -1 main/binary-amd64/Packages\n",
		"short sum":     "Date: Sat, 28 Nov 2026 00:53:02 UTC\nSHA256:\n 00 1 main/binary-amd64/Packages\n",
		"two":           text + "\n" + text,
	} {
		if _, err := parseRelease([]byte(text), "main/binary-amd64"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCheckRelease(t *testing.T) {
	t.Parallel()
	date := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	r := &release{suite: "stable", codename: "bookworm", date: date, validUntil: date.AddDate(0, 0, 7)}
	for _, tc := range []struct {
		suite, want string
		now         time.Time
	}{
		{"bookworm", "", date.AddDate(0, 0, 1)},
		{"stable", "", date.AddDate(0, 0, 7)},
		{"trixie", `not for "trixie"`, date.AddDate(0, 0, 1)},
		{"bookworm", "expired on 2026-11-08T00:00:00Z", date.AddDate(0, 0, 8)},
		{"bookworm", "dated in the future", date.AddDate(0, 0, -1)},
	} {
		err := r.check(tc.suite, tc.now)
		if tc.want == "" && err != nil || tc.want != "" && (fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s at %s: %v, want %q", tc.suite, tc.now, err, tc.want)
		}
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add("Suite: a\nDate: Sat, 28 Nov 2026 00:53:02 UTC\nSHA256:\n " + sum + " 12 main/binary-amd64/Packages.xz\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRelease([]byte(text), "main/binary-amd64")
		if err != nil {
			return
		}
		for path, e := range r.files {
			if !strings.HasPrefix(path, "main/binary-amd64/") || e.size < 0 || !isSHA256(e.sha256) {
				t.Errorf("%q: %+v", path, e)
			}
		}
	})
}
