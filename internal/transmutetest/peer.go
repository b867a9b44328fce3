package transmutetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Peer is the host's own pacman, set up to install from the distribution's repositories with their keys alone. It needs
// root, pacman, pacman-key and unshare.
type Peer struct {
	Env []string // for what pacman starts, as "KEY=value"

	dir string
}

// Peer makes a keyring and a configuration below dir. Repositories come first that are named first; core and extra are
// there in any case, after the others.
func (a *Arch) Peer(ctx context.Context, dir string, first ...string) (*Peer, error) {
	p := &Peer{dir: dir}
	for _, d := range []string{p.gpg(), p.cache()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	conf := "[options]\nArchitecture = x86_64\nSigLevel = Required DatabaseOptional\nParallelDownloads = 4\n"
	for _, r := range append(first, "core", "extra") {
		conf += "[" + r + "]\nServer = " + a.Mirrors()[0] + "\n"
	}
	if err := os.WriteFile(p.Config(), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	program, err := p.pacmanKey(a.KeyDir)
	if err != nil {
		return nil, err
	}
	defer p.endAgent(ctx)
	for _, args := range [][]string{
		{"--init"}, {"--populate", "archlinux"}, {"--add", filepath.Join(a.KeyDir, "ec2.gpg")}, {"--lsign-key", a.Keys.EC2.Fingerprint},
	} {
		cmd := exec.CommandContext(ctx, program, append([]string{"--config", p.Config(), "--gpgdir", p.gpg()}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("pacman-key %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Keys that it lacks are not to be looked for on the network.
	return p, os.WriteFile(filepath.Join(p.gpg(), "gpg.conf"), []byte("disable-dirmngr\nno-permission-warning\nlock-never\n"), 0o600)
}

// Config is the path of the configuration.
func (p *Peer) Config() string { return filepath.Join(p.dir, "pacman.conf") }
func (p *Peer) gpg() string    { return filepath.Join(p.dir, "gnupg") }
func (p *Peer) cache() string  { return filepath.Join(p.dir, "cache") }

// pacmanKey makes a copy of the host's pacman-key that takes keyrings from a folder of ours.
func (p *Peer) pacmanKey(keys string) (string, error) {
	program, err := exec.LookPath("pacman-key")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	ours := regexp.MustCompile(`(?m)^(\s*local KEYRING_IMPORT_DIR=).*`).ReplaceAll(text, []byte("${1}'"+keys+"'"))
	copied := filepath.Join(p.dir, "pacman-key")
	return copied, os.WriteFile(copied, ours, 0o755)
}

// endAgent ends what pacman-key has started.
func (p *Peer) endAgent(ctx context.Context) {
	cmd := exec.CommandContext(ctx, "gpgconf", "--kill", "all")
	cmd.Env = append(os.Environ(), "GNUPGHOME="+p.gpg())
	_ = cmd.Run() // it may have ended
}

// Command returns a command that runs pacman on a root, in a mount namespace in which the root has what scripts and hooks
// look for: /dev, /proc, /sys.
func (p *Peer) Command(root string, args ...string) []string {
	const script = `set -e
root=$1; shift
mkdir -p "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/var/lib/pacman"
chmod 555 "$root/proc" "$root/sys"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
exec "$@"`
	command := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", root, "pacman", "--config", p.Config(),
		"--gpgdir", p.gpg(), "--cachedir", p.cache(), "--root", root, "--noconfirm", "--color", "never"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-Q") {
		command = append(command, "--noprogressbar")
	}
	return append(command, args...)
}

// Run runs a Command and returns what it printed.
func (p *Peer) Run(ctx context.Context, root string, args ...string) (string, error) {
	command := p.Command(root, args...)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=/root"}, p.Env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("pacman %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), err
}
