package transmutetest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SmallCentOS is a mirror that is laid out as CentOS's, with empty packages: for tests that choose packages and install none.
type SmallCentOS struct {
	*CentOS
	ready map[string]string // packages that are made and signed, by name-version-release
}

// NewSmallCentOS makes the mirror below dir, with nothing in it yet. packages are the versions, with release, that each package
// is to have one after the other; all are made now, as one key signs them. It takes what NewCentOS takes but no mirror.
func NewSmallCentOS(ctx context.Context, dir string, packages map[string][]string) (*SmallCentOS, error) {
	repository := filepath.Join(dir, "6.5", "os", "x86_64")
	c := &SmallCentOS{&CentOS{Dir: dir, KeyFile: filepath.Join(repository, keyFile)}, map[string]string{}}
	if err := os.MkdirAll(filepath.Join(repository, "Packages"), 0o755); err != nil {
		return nil, err
	}
	made := filepath.Join(dir, "made")
	for n := 0; ; n++ { // the first versions together, then the second ones …
		now := map[string]string{}
		for name, versions := range packages {
			if n < len(versions) {
				now[name] = versions[n]
			}
		}
		if len(now) == 0 {
			break
		}
		if err := buildEmpty(ctx, made, now); err != nil {
			return nil, err
		}
		for name, version := range now {
			c.ready[name+"-"+version] = filepath.Join(made, name+"-"+version+".rpm")
		}
	}
	return c, c.sign(ctx, slices.Sorted(maps.Values(c.ready)))
}

// buildEmpty has rpmbuild make empty packages, of one spec file.
func buildEmpty(ctx context.Context, dir string, versions map[string]string) error {
	top, err := os.MkdirTemp("", "ingot-rpmbuild-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	var b strings.Builder
	b.WriteString("Name: together\nVersion: 1\nRelease: 1\nSummary: together\nLicense: custom\nBuildArch: x86_64\n%description\nIt is not made.\n")
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		version, release, _ := strings.Cut(versions[name], "-")
		fmt.Fprintf(&b, "%%package -n %s\nVersion: %s\nRelease: %s\nSummary: %s\n%%description -n %s\nEmpty.\n%%files -n %s\n", name, version, release, name, name, name)
	}
	spec := filepath.Join(top, "together.spec")
	if err := os.WriteFile(spec, []byte(b.String()), 0o644); err != nil {
		return err
	}
	args := []string{"-bb", "--quiet", "--nodeps", "--target", "x86_64", "--buildroot", filepath.Join(top, "root")}
	for name, value := range map[string]string{"_topdir": top, "_rpmdir": dir, "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.rpm", "_builddir": top,
		"_buildhost": "build.example.org", "_binary_payload": "w2.xzdio", "_binary_filedigest_algorithm": "8", "debug_package": "%{nil}"} {
		args = append(args, "--define", name+" "+value)
	}
	_, err = peer(ctx, top, "rpmbuild", append(args, spec)...)
	return err
}

// Publish puts versions of packages, as name-version-release, into the mirror in place of others of their names.
func (c *SmallCentOS) Publish(ctx context.Context, packages ...string) error {
	repository := filepath.Join(c.Dir, "6.5", "os", "x86_64")
	for _, p := range packages {
		name := p[:strings.LastIndexByte(p[:strings.LastIndexByte(p, '-')], '-')]
		data, err := os.ReadFile(c.ready[p])
		if err != nil {
			return fmt.Errorf("publishing %s: %w", p, err)
		}
		if err := os.WriteFile(filepath.Join(repository, "Packages", name+".x86_64.rpm"), data, 0o644); err != nil {
			return err
		}
	}
	return c.index(ctx, repository, []string{"bash"})
}
