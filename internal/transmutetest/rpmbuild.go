package transmutetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// rpmFormat is that of CentOS 6: programs and libraries are where Debian's packages still have them.
var rpmFormat = format{layout: func(name string) string { return name }, scripts: ".spec", pack: packRPM}

// unwanted are requirements that no package of the table has.
const unwanted = `^(/usr/bin/perl|/usr/bin/python3|/bin/dash|perl|python)`

var notVersion = regexp.MustCompile(`[^A-Za-z0-9._+~]`)

// packRPM has rpmbuild make a package. Scripts are sections of a spec file.
func packRPM(ctx context.Context, w io.Writer, m *made, c *content, scripts []byte, _ *python) error {
	top, err := os.MkdirTemp("", "ingot-rpmbuild-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	date := epoch
	if len(m.debs) > 0 {
		date = c.newest.UTC().Truncate(time.Second)
	}
	tree := filepath.Join(top, "content")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := c.extract(tree, date); err != nil {
		return err
	}
	files := filepath.Join(top, "files")
	if err := os.WriteFile(files, []byte(m.fileList(c)), 0o644); err != nil {
		return err
	}
	spec := filepath.Join(top, m.Name+".spec")
	if err := os.WriteFile(spec, []byte(m.specFile(tree, files, scripts)), 0o644); err != nil {
		return err
	}
	args := []string{"-bb", "--quiet", "--nodeps", "--buildroot", filepath.Join(top, "root")}
	for name, value := range map[string]string{
		"_topdir": top, "_rpmdir": top, "_rpmfilename": "made.rpm", "_builddir": top, "_buildhost": "build.example.org",
		"_binary_payload": "w2.xzdio", "_binary_filedigest_algorithm": "8", "_build_id_links": "none", "debug_package": "%{nil}",
		"__os_install_post": "%{nil}", "use_source_date_epoch_as_buildtime": "1", "clamp_mtime_to_source_date_epoch": "1",
	} {
		args = append(args, "--define", name+" "+value)
	}
	cmd := exec.CommandContext(ctx, "rpmbuild", append(args, spec)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", date.Unix()), "LC_ALL=C.UTF-8", "HOME="+top)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("rpmbuild: %w\n%s", err, out)
	}
	made, err := os.ReadFile(filepath.Join(top, "made.rpm"))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, bytes.NewReader(made))
	return err
}

// specFile is the text of the package's spec file.
func (m *made) specFile(tree, files string, scripts []byte) string {
	version, release, epoch := m.Version, "1.el6", ""
	if version == "" {
		v := m.debs[0].Version
		if e, rest, ok := strings.Cut(v, ":"); ok {
			epoch, v = e, rest
		}
		version = v
		if at := strings.LastIndexByte(v, '-'); at >= 0 {
			version, release = v[:at], notVersion.ReplaceAllString(v[at+1:], "_")+".el6"
		}
		version = notVersion.ReplaceAllString(version, "_")
	} else if v, r, ok := strings.Cut(version, "-"); ok {
		version, release = v, r
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%%global __requires_exclude %s\n%%global __provides_exclude ^(perl|python)\nName: %s\nVersion: %s\nRelease: %s\nSummary: %s\nLicense: custom\nGroup: System Environment/Base\n",
		unwanted, m.Name, version, release, m.Name)
	if epoch != "" {
		fmt.Fprintf(&b, "Epoch: %s\n", epoch)
	}
	if len(m.debs) == 0 {
		b.WriteString("AutoReqProv: no\n")
	}
	for _, d := range m.depends {
		fmt.Fprintf(&b, "Requires: %s\n", d)
	}
	for _, p := range m.Provides {
		fmt.Fprintf(&b, "Provides: %s\n", p)
	}
	fmt.Fprintf(&b, "%%description\nMade of Debian's packages.\n%%install\nmkdir -p %%{buildroot}\ncp -a %s/. %%{buildroot}/\n%s\n%%files -f %s\n", tree, scripts, files)
	return b.String()
}

// shared are folders that the package filesystem has for all others.
var shared = []string{"bin", "boot", "dev", "etc", "etc/init.d", "etc/pam.d", "etc/profile.d", "etc/rc.d", "etc/rc.d/init.d", "home", "lib", "lib/modules", "lib/x86_64-linux-gnu", "lib64", "media", "mnt",
	"opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "usr/bin", "usr/lib", "usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/libexec", "usr/local", "usr/sbin", "usr/share",
	"var", "var/cache", "var/empty", "var/lib", "var/lock", "var/log", "var/run", "var/spool", "var/tmp"}

// fileList is the list of files with their owners and modes.
func (m *made) fileList(c *content) string {
	var b strings.Builder
	for _, n := range c.sorted() {
		switch {
		case n.is(unix.S_IFDIR):
			if m.Name == "filesystem" || !slices.Contains(shared, n.Path) {
				fmt.Fprintf(&b, "%%dir %%attr(%o, root, root) \"/%s\"\n", n.Mode&0o7777, n.Path)
			}
		case n.is(unix.S_IFLNK):
			fmt.Fprintf(&b, "\"/%s\"\n", n.Path)
		default:
			config := ""
			if slices.Contains(c.backup, n.Path) || slices.Contains(m.Backup, n.Path) || strings.HasPrefix(n.Path, "etc/") && !strings.HasPrefix(n.Path, "etc/rc.d/") {
				config = "%config(noreplace) "
			}
			fmt.Fprintf(&b, "%s%%attr(%o, root, root) \"/%s\"\n", config, n.Mode&0o7777, n.Path)
		}
	}
	return b.String()
}
