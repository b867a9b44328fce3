package archive

import (
	"testing"

	"ingot/internal/fetch"
)

// BenchmarkResolve measures a second Resolve over the indexes of a Debian mirror: nothing is downloaded but
// the InRelease files, or nothing at all.
func BenchmarkResolve(b *testing.B) {
	dir := b.TempDir()
	c, err := fetch.New(fetch.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	rq := Request{Repositories: bookworm(b), Arch: "amd64", Essential: true, Include: []string{"cloud-init", "openssh-server",
		"sudo", "chrony", "linux-image-cloud-amd64", "grub-pc", "systemd-sysv", "netplan.io"}}
	if _, _, err := Resolve(b.Context(), c, rq, nil); err != nil {
		b.Fatal(err)
	}
	for name, offline := range map[string]bool{"online": false, "offline": true} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			c, err := fetch.New(fetch.Options{Dir: dir, Offline: offline})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			for b.Loop() {
				l, _, err := Resolve(b.Context(), c, rq, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(l.Packages)), "packages")
			}
		})
	}
}
