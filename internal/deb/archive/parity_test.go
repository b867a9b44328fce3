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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
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

var targets = []string{
	"zlib1g",
	"libssl3 ca-certificates",
	"bash coreutils dpkg",
	"cloud-init cloud-guest-utils openssh-server sudo chrony linux-image-cloud-amd64 grub-pc systemd-sysv dbus netplan.io",
	"linux-image-amd64",
	"default-mta",
	"exim4",
	"bsd-mailx",
	"mailutils",
	"postfix mailutils",
	"systemd",
	"systemd-sysv",
	"sysvinit-core",
	"cron",
	"gawk",
	"original-awk base-files",
	"base-files",
	"python3-venv python3-pip",
	"jupyter-notebook",
	"python3-numpy python3-scipy python3-matplotlib",
	"gnome-core",
	"task-ssh-server",
	"task-laptop",
	"xfce4",
	"postgresql",
	"mariadb-server",
	"docker.io",
	"default-jre",
	"tomcat10",
	"nginx",
	"apache2 libapache2-mod-php",
	"php",
	"build-essential debhelper",
	"emacs",
	"texlive-latex-recommended",
	"dbus-x11",
	"resolvconf",
	"network-manager",
	"ifupdown",
	"ruby rails",
	"aptitude",
	"apt",
	"exim4 postfix",                    // in conflict with each other
	"systemd-sysv sysvinit-core",       // the same
	"libc6-dev=0",                      // no such version
	"mail-transport-agent",             // virtual, with many providers
	"no-such-package",                  // nothing
	"chrony systemd-timesyncd",         // in conflict through a provided name
	"network-manager systemd-resolved", //
	"libcurl4-gnutls-dev libcurl4-openssl-dev", // in conflict
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
	if f := os.Getenv("INGOT_PARITY_TARGETS"); f != "" {
		list = strings.Split(f, ",")
	}
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, target := range list {
		for _, recommends := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,recommends=%v", target, recommends), func(t *testing.T) {
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
				var got []string
				for _, p := range l.Packages {
					got = append(got, p.Name+" "+p.Version)
				}
				slices.Sort(got)
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("apt has %d packages, we have %d, error %v (-apt +ours)\n%s", len(want), len(got), err, d)
				}
			})
		}
	}
}
