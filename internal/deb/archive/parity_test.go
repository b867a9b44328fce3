package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/lock"
)

// apt is apt-get with a root of its own: no package installed, the given repositories, their indexes fetched.
type apt struct{ program, config string }

func newApt(t *testing.T, repositories []Repository) apt {
	t.Helper()
	program, err := exec.LookPath("apt-get")
	if err != nil {
		t.Skip("apt-get is not installed:", err)
	}
	root := t.TempDir()
	for _, dir := range []string{"etc", "state/lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var sources strings.Builder
	for _, r := range repositories {
		fmt.Fprintf(&sources, "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s %s\n",
			r.Mirrors[0], r.Suite, strings.Join(r.Components, " "))
	}
	config := fmt.Sprintf(`
Dir %q;
Dir::State "state";
Dir::State::status "status";
Dir::Cache "cache";
Dir::Etc "etc";
Dir::Log "log";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
pkgCacheGen::ForceEssential ",";
`, root)
	for name, text := range map[string]string{"etc/sources.list": sources.String(), "status": "", "state/status": "", "apt.conf": config} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := apt{program, filepath.Join(root, "apt.conf")}
	if out, err := a.run("update"); err != nil {
		t.Skipf("apt-get update does not work here: %v\n%s", err, out)
	}
	return a
}

func (a apt) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // a busy machine is no failure
	defer cancel()
	cmd := exec.CommandContext(ctx, a.program, args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.config, "LC_ALL=C.UTF-8")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// install returns what apt would install, as sorted lines "name version"; nil when it finds no way.
func (a apt) install(recommends bool, packages ...string) ([]string, error) {
	out, err := a.run(append([]string{"--simulate", fmt.Sprintf("-oAPT::Install-Recommends=%v", recommends), "install"},
		packages...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 100 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	var all []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "Inst" {
			all = append(all, f[1]+" "+strings.TrimPrefix(f[2], "("))
		}
	}
	slices.Sort(all)
	return all, nil
}

// targets are what the test asks for. With INGOT_E2E=1 moreTargets are added; the environment variable
// INGOT_PARITY_TARGETS replaces both, by a list that commas part.
var targets = []string{
	"zlib1g",
	"libssl3 ca-certificates",
	"cloud-init cloud-guest-utils openssh-server sudo chrony linux-image-cloud-amd64 grub-pc systemd-sysv dbus netplan.io",
	"linux-image-amd64",
	"default-mta",
	"exim4",
	"bsd-mailx postfix",
	"systemd",
	"sysvinit-core",
	"cron",
	"original-awk base-files",
	"python3-venv python3-pip",
	"python3-numpy python3-matplotlib",
	"gnome-core",
	"task-ssh-server",
	"postgresql",
	"docker.io",
	"default-jre",
	"apache2 libapache2-mod-php",
	"build-essential debhelper",
	"network-manager ifupdown",
	"chrony systemd-timesyncd",   // in conflict through a name that both provide
	"systemd-sysv sysvinit-core", // in conflict
	"libcurl4-gnutls-dev libcurl4-openssl-dev", // in conflict
	"libc6-dev=0",          // no such version
	"mail-transport-agent", // virtual, with many providers
	"no-such-package",
}

var moreTargets = []string{
	"bash coreutils dpkg", "bsd-mailx", "mailutils", "postfix mailutils", "exim4 postfix", "systemd-sysv", "gawk", "base-files",
	"jupyter-notebook", "python3-scipy", "task-laptop", "task-gnome-desktop", "task-kde-desktop", "xfce4", "mariadb-server", "tomcat10",
	"nginx", "php", "emacs", "texlive-latex-recommended", "dbus-x11", "resolvconf", "network-manager systemd-resolved",
	"ruby rails", "aptitude", "apt", "dracut", "live-boot", "libvirt-daemon-system", "kubernetes-client", "ansible", "r-base",
	"libreoffice", "firefox-esr", "gcc-mingw-w64", "wine", "steam-devices", "samba", "slapd", "nfs-kernel-server", "runit-init", "elogind",
	"gnome postgresql docker.io", "openjdk-17-jdk maven", "sendmail", "nullmailer cron", "busybox-syslogd rsyslog", "dbus-broker",
}

// remains are packages that apt takes for something that it then gives up. Of "libreoffice-core-nogui | libreoffice-core" it
// takes the first, though more of LibreOffice needs the second, which conflicts; when it comes to that one it drops the first, but keeps
// what it chose on the way to it: of Java's "libgtk2.0-0 | libgtk-3-0" again the first, since the second was not chosen yet. We go
// back and choose anew, and then it was. By target, as the tests below are named.
var remains = map[string][]string{
	"libreoffice,recommends=true": {"libgail-common", "libgail18", "libgtk2.0-0", "libgtk2.0-bin", "libgtk2.0-common"},
}

// TestParityWithApt asks apt and Resolve for the same packages, on the same live indexes.
func TestParityWithApt(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	repositories := bookworm(t)
	a := newApt(t, repositories)
	rq := Request{Repositories: repositories, Arch: "amd64", Now: time.Now()}
	var read lock.Lock
	cat, err := rq.read(t.Context(), client(t), &read, nil)
	if err != nil {
		if fault.KindOf(err) == fault.Unreachable {
			t.Skip("the mirror cannot be reached:", err)
		}
		t.Fatal(err)
	}
	list := targets
	if os.Getenv("INGOT_E2E") == "1" {
		list = slices.Concat(targets, moreTargets)
	}
	if f := os.Getenv("INGOT_PARITY_TARGETS"); f != "" {
		list = strings.Split(f, ",")
	}
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, target := range list {
		for _, recommends := range []bool{false, true} {
			name := fmt.Sprintf("%s,recommends=%v", target, recommends)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				limit <- struct{}{}
				defer func() { <-limit }()
				rq := Request{Arch: "amd64", Include: strings.Fields(target), Recommends: recommends}
				want, err := a.install(recommends, rq.Include...)
				if err != nil {
					t.Fatal(err)
				}
				var l lock.Lock
				_, err = rq.choose(t.Context(), cat, &l)
				got := names(&l)
				want = slices.DeleteFunc(want, func(p string) bool {
					of, _, _ := strings.Cut(p, " ")
					return slices.Contains(remains[name], of) && !slices.Contains(got, p)
				})
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("apt has %d packages, we have %d, error %v (-apt +ours)\n%s", len(want), len(got), err, d)
				}
			})
		}
	}
	// What mmdebstrap's variants essential and minbase consist of.
	var required []string
	for _, e := range cat.order {
		if e.best.priority == "required" {
			required = append(required, e.best.name)
		}
	}
	for name, tc := range map[string]struct {
		ours []string
		apts []string
	}{
		"essential": {nil, []string{"?essential"}},
		"minbase":   {append(required, "apt"), []string{"?essential", "?priority(required)", "apt"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := a.install(false, tc.apts...)
			if err != nil {
				t.Fatal(err)
			}
			rq := Request{Arch: "amd64", Include: tc.ours, Essential: true}
			var l lock.Lock
			if _, err := rq.choose(t.Context(), cat, &l); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, names(&l)); d != "" {
				t.Errorf("(-apt +ours)\n%s", d)
			}
			checkOrder(t, cat, &l)
		})
	}
}
