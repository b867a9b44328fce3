package tree

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// ruleData are the rules that need no code of their own: a file that matches any of the patterns is found if
// check says so.
var ruleData = []struct {
	name     string
	severity Severity
	check    func(detail string) func(*file) (string, error)
	detail   string
	paths    string // patterns, separated by spaces
	except   string
}{
	{"ssh-host-key", Refuse, present, "an SSH host key, which every machine must make for itself",
		"etc/ssh/ssh_host_*_key etc/ssh/ssh_host_key etc/dropbear/dropbear_*_host_key", ""},
	{"ssh-host-key", Warn, present, "the public half of an SSH host key", "etc/ssh/ssh_host_*.pub", ""},
	{"authorized-keys", Refuse, lines, "lets somebody log in",
		"**/.ssh/authorized_keys **/.ssh/authorized_keys2 etc/ssh/authorized_keys etc/ssh/authorized_keys/* etc/dropbear/authorized_keys", ""},
	{"known-hosts", Warn, lines, "tells where somebody has logged in", "**/.ssh/known_hosts **/.ssh/known_hosts.old etc/ssh/ssh_known_hosts", ""},
	{"history", Refuse, filled, "a history of what somebody did",
		"**/.bash_history **/.zsh_history **/.sh_history **/.ash_history **/.ksh_history **/.history **/.histfile **/.psql_history " +
			"**/.mysql_history **/.mariadb_history **/.sqlite_history **/.python_history **/.rediscli_history **/.node_repl_history " +
			"**/.irb_history **/.lesshst **/.viminfo **/.wget-hsts **/fish_history", ""},
	{"random-seed", Refuse, filled, "a seed that all machines would share",
		"var/lib/systemd/random-seed var/lib/random-seed var/lib/urandom/random-seed **/loader/random-seed", ""},
	{"credentials", Refuse, filled, "credentials of a service",
		"**/.aws/credentials **/.aws/sso/cache/* **/.boto **/.s3cfg **/.azure/* **/.config/gcloud/*.json **/.config/gcloud/*.db " +
			"**/.netrc **/.git-credentials **/.config/git/credentials **/.docker/config.json **/.kube/config **/.pgpass **/.my.cnf " +
			"**/.vault-token **/.pypirc **/.config/gh/hosts.yml **/.gnupg/private-keys-v1.d/* **/.gnupg/secring.gpg etc/krb5.keytab", ""},
	{"network-secret", Refuse, contains(`(?mi)^\s*(psk|password|wep-key\d|private-?key|private-key-password)\s*[=:]\s*\S`), "the password of a network",
		"etc/NetworkManager/system-connections/* etc/wpa_supplicant/* etc/wireguard/* etc/netplan/*", ""},
	{"network-state", Warn, filled, "the network of the machine that made the tree",
		"etc/NetworkManager/system-connections/* var/lib/NetworkManager/* var/lib/dhcp/*.leases var/lib/dhclient/*.leases var/lib/dhclient/*.lease " +
			"var/lib/dhcpcd/*.lease var/lib/systemd/network/* etc/udev/rules.d/*-persistent-net.rules", ""},
	{"network-state", Warn, contains(`(?m)^\s*HWADDR\s*=`), "bound to the network card of one machine",
		"etc/sysconfig/network-scripts/ifcfg-* etc/systemd/network/*", ""},
	{"resolver", Refuse, contains(`(?m)^\s*nameserver\s`), "the name servers of the machine that made the tree", "etc/resolv.conf", ""},
	{"service-policy", Refuse, present, "keeps services from starting; a build left it behind", "usr/sbin/policy-rc.d", ""},
	{"cloud-init-state", Refuse, present, "cloud-init has run, and would take the machine for that one",
		"var/lib/cloud/instance var/lib/cloud/instances/* var/lib/cloud/data/* var/lib/cloud/sem/* run/cloud-init/*", ""},
	{"package-cache", Warn, filled, "a cache of packages",
		"var/cache/apt/archives/*.deb var/cache/apt/archives/partial/* var/cache/apt/*.bin var/cache/pacman/pkg/* var/cache/yum/** var/cache/dnf/**", ""},
	{"package-lists", Warn, filled, "an index of packages, old by the time it is used", "var/lib/apt/lists/** var/lib/pacman/sync/*", "var/lib/apt/lists/lock"},
	{"package-leftover", Warn, present, "an installation was interrupted, or a change of configuration waits to be merged",
		"**/*.dpkg-new **/*.dpkg-tmp **/*.dpkg-old **/*.dpkg-dist **/*.ucf-old **/*.ucf-dist **/*.pacnew **/*.pacsave **/*.rpmnew **/*.rpmsave **/*.rpmorig", ""},
	{"log", Warn, filled, "a log of the build", "var/log/**", ""},
	{"temporary", Warn, present, "a temporary file", "tmp/** var/tmp/** run/** dev/shm/**", ""},
	{"crash", Warn, present, "what a crash left behind", "var/crash/* var/lib/systemd/coredump/*", ""},
	{"swap", Warn, filled, "a swap file", "swapfile swap.img swap var/swap var/swapfile **/.*.sw[op]", ""},
	{"resume", Warn, lines, "names the swap space of one machine", "etc/initramfs-tools/conf.d/resume", ""},
	{"initiator", Warn, contains(`(?m)^InitiatorName=`), "an iSCSI name that all machines would share", "etc/iscsi/initiatorname.iscsi", ""},
}

// rules returns all rules.
func rules(o AuditOptions) []rule {
	all := []rule{
		{name: "private-key", severity: Refuse, sample: shipped, check: privateKey},
		{name: "world-writable", severity: Refuse, check: worldWritable},
		{name: "setuid", severity: Warn, check: foreignSetuid},
		{name: "device", severity: Refuse, sample: func(p string) bool { return strings.HasPrefix(p, "dev/") }, check: device},
		{name: "machine-id", severity: Refuse, paths: globs("etc/machine-id"), check: machineID},
		{name: "machine-id", severity: Refuse, paths: globs("var/lib/dbus/machine-id"), check: filled("a machine id that all machines would share")},
		{name: "password", severity: Refuse, paths: globs("etc/shadow etc/shadow-"), check: shadow},
		{name: "password", severity: Refuse, paths: globs("etc/passwd etc/passwd-"), check: passwd},
		{name: "second-root", severity: Refuse, paths: globs("etc/passwd"), check: secondRoot},
	}
	for _, d := range ruleData {
		all = append(all, rule{name: d.name, severity: d.severity, paths: globs(d.paths), except: globs(d.except), check: d.check(d.detail)})
	}
	if name := strings.TrimSpace(o.Hostname); name != "" && name != "localhost" {
		word := contains(`(?m)(^|[^\w.-])` + regexp.QuoteMeta(name) + `($|[^\w-])`)("names the machine that made the tree, " + name)
		all = append(all, rule{name: "hostname", severity: Refuse, check: word,
			paths: globs("etc/hostname etc/hosts etc/mailname etc/sysconfig/network etc/postfix/main.cf etc/exim4/update-exim4.conf.conf")})
	}
	for i := range all {
		all[i].base = bases(all[i].paths)
	}
	return all
}

// globs parses patterns of this file.
func globs(patterns string) []Glob {
	var all []Glob
	for _, p := range strings.Fields(patterns) {
		g, err := ParseGlob(p)
		if err != nil {
			panic(err) // a test reads them all
		}
		all = append(all, g)
	}
	return all
}

// bases returns the last components of patterns, nil when one of them has a wildcard. They decide quickly
// about nearly every path.
func bases(paths []Glob) map[string]bool {
	if paths == nil {
		return nil
	}
	all := make(map[string]bool)
	for _, g := range paths {
		last := g[len(g)-1]
		if strings.ContainsAny(last, `*?[\`) {
			return nil
		}
		all[last] = true
	}
	return all
}

// present finds everything but directories.
func present(detail string) func(*file) (string, error) {
	return func(f *file) (string, error) {
		if f.Mode&unix.S_IFMT == unix.S_IFDIR {
			return "", nil
		}
		return detail, nil
	}
}

// filled finds regular files that are not empty.
func filled(detail string) func(*file) (string, error) {
	return func(f *file) (string, error) {
		if f.regular() && f.Size > 0 {
			return detail, nil
		}
		return "", nil
	}
}

// lines finds files with a line that is neither empty nor a comment.
func lines(detail string) func(*file) (string, error) {
	return contains(`(?m)^[ \t]*[^#\s]`)(detail)
}

// contains finds files whose content matches a regular expression.
func contains(expression string) func(detail string) func(*file) (string, error) {
	re := regexp.MustCompile(expression)
	return func(detail string) func(*file) (string, error) {
		return func(f *file) (string, error) {
			data, err := f.content()
			if err != nil || !re.Match(data) {
				return "", err
			}
			return detail, nil
		}
	}
}

// A private key is a whole block, from its first line to its last, of nothing but headers and base64, perhaps
// indented as in YAML. Programs that deal with keys have the header alone, and their manuals have dots in between.
var (
	pemKey = regexp.MustCompile(`(?m)^[ \t]*-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*\n` +
		`(?:[ \t]*[A-Za-z-]+: .*\n)*\s*(?:[ \t]*[A-Za-z0-9+/=]+[ \t\r]*\n)+[ \t]*-----END `)
	puttyKey = regexp.MustCompile(`^PuTTY-User-Key-File-\d: `)
)

// maxKeyFile is the size up to which any file may turn out to be a key, or to hold one. A bigger one is not
// opened: a tree is large.
const maxKeyFile = 128 << 10

func privateKey(f *file) (string, error) {
	const least = 48 // bytes of the shortest key, an Ed25519 one in PEM, and of its header
	if !f.regular() || f.Size < least || f.Size > maxKeyFile {
		return "", nil
	}
	data, err := f.content()
	if err != nil {
		return "", err
	}
	if puttyKey.Match(data) || bytes.Contains(data, []byte("PRIVATE KEY")) && !bytes.HasPrefix(data, []byte("\x7fELF")) && pemKey.Match(data) {
		return "holds a private key", nil
	}
	return "", nil
}

// shipped reports whether what lies at a path came with a package, as an example or for its tests: it is known
// to everybody as it is.
func shipped(name string) bool {
	if strings.HasPrefix(name, "usr/share/doc/") || strings.HasPrefix(name, "usr/share/man/") {
		return true
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if base := path.Base(dir); strings.HasPrefix(dir, "usr/") && (base == "test" || base == "tests" || base == "testdata" || base == "examples") {
			return true
		}
	}
	return false
}

func worldWritable(f *file) (string, error) {
	if f.Mode&0o002 == 0 {
		return "", nil
	}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "everybody may write to it", nil
	case unix.S_IFDIR:
		if f.Mode&unix.S_ISVTX == 0 {
			return "everybody may write to it, and remove what others put there (no sticky bit)", nil
		}
	}
	return "", nil
}

func foreignSetuid(f *file) (string, error) {
	if f.regular() && f.Mode&unix.S_ISUID != 0 && f.UID != 0 {
		return fmt.Sprintf("runs as user %d, who may also change it", f.UID), nil
	}
	return "", nil
}

func device(f *file) (string, error) {
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		if f.Mode&unix.S_IFMT == unix.S_IFCHR && f.Major == 0 && f.Minor == 0 {
			return "", nil // a whiteout of overlayfs opens nothing
		}
		return fmt.Sprintf("a %s, %d:%d", kind(f.Mode), f.Major, f.Minor), nil
	}
	return "", nil
}

func machineID(f *file) (string, error) {
	if !f.regular() {
		return fmt.Sprintf("a %s; it has to be an empty file", kind(f.Mode)), nil
	}
	data, err := f.content()
	switch {
	case err != nil || f.Size == 0:
		return "", err
	case strings.TrimSpace(string(data)) == "uninitialized":
		return "says uninitialized, which makes the first boot apply presets; it has to be an empty file", nil
	}
	return "a machine id that all machines would share; it has to be an empty file", nil
}

// accounts calls fn with the fields of each line of a file of the form of passwd(5), and joins what it says.
func accounts(f *file, fn func(fields []string) string) (string, error) {
	data, err := f.content()
	if err != nil {
		return "", err
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(fields) < 2 || strings.HasPrefix(line, "#") {
			continue
		}
		if said := fn(fields); said != "" {
			all = append(all, said)
		}
	}
	return strings.Join(all, "; "), nil
}

// shadow finds passwords, locked ones included: who knows a "!hash" may unlock, or crack it.
func shadow(f *file) (string, error) {
	return accounts(f, func(fields []string) string {
		switch fields[1] {
		case "*", "!", "!*", "!!", "*LK*", "x":
			return ""
		case "":
			return fields[0] + " needs no password"
		}
		return fields[0] + " has a password"
	})
}

func passwd(f *file) (string, error) {
	return accounts(f, func(fields []string) string {
		switch fields[1] {
		case "x", "*", "!", "!!":
			return ""
		case "":
			return fields[0] + " needs no password"
		}
		return fields[0] + " has a password, for all to read"
	})
}

func secondRoot(f *file) (string, error) {
	return accounts(f, func(fields []string) string {
		if len(fields) > 2 && fields[2] == "0" && fields[0] != "root" {
			return fields[0] + " is root by another name"
		}
		return ""
	})
}
