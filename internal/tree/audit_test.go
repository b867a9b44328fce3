package tree

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	pem     = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF0X7\n-----END RSA PRIVATE KEY-----\n"
	openssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\n-----END OPENSSH PRIVATE KEY-----\n"
	putty   = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\nPublic-Lines: 2\n"
)

func TestAudit(t *testing.T) {
	setuid := func(uid uint32) memoryFile {
		return plain("x").with(func(e *Entry) { e.Mode |= unix.S_ISUID; e.UID = uid })
	}
	for _, c := range []struct {
		name string
		path string
		file memoryFile
		want string // "severity rule", or "" for no finding
	}{
		{"host key", "etc/ssh/ssh_host_ed25519_key", plain("x"), "refuse ssh-host-key"},
		{"empty host key", "etc/ssh/ssh_host_rsa_key", plain(""), "refuse ssh-host-key"},
		{"public host key", "etc/ssh/ssh_host_rsa_key.pub", plain("ssh-rsa AAAA"), "warn ssh-host-key"},
		{"dropbear", "etc/dropbear/dropbear_rsa_host_key", plain("x"), "refuse ssh-host-key"},
		{"sshd_config", "etc/ssh/sshd_config", plain("Port 22\n"), ""},

		{"PEM", "opt/app/server.pem", plain(pem), "refuse private-key"},
		{"PEM with headers", "root/k", plain(strings.Replace(pem, "MII", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMII", 1)), "refuse private-key"},
		{"PEM with CR", "root/k", plain(strings.ReplaceAll(pem, "\n", "\r\n")), "refuse private-key"},
		{"PKCS 8", "etc/ssl/private/ssl-cert-snakeoil.key", plain(strings.ReplaceAll(pem, "RSA ", "")), "refuse private-key"},
		{"OpenSSH", "home/admin/.ssh/id_ed25519", plain(openssh), "refuse private-key"},
		{"PuTTY", "srv/key.ppk", plain(putty), "refuse private-key"},
		{"PGP", "srv/key.asc", plain("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBGPq0jsBCADHQqPZ\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n"), "refuse private-key"},
		{"in YAML", "etc/app.yaml", plain("key: |\n" + "  " + strings.ReplaceAll(pem, "\n", "\n  ")), "refuse private-key"},
		{"after a certificate", "etc/x.pem", plain("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" + pem), "refuse private-key"},
		{"a package's example", "usr/share/doc/cloud-init/examples/keys.txt", plain(pem), "warn private-key"},
		{"a package's test", "usr/lib/python3.11/test/keycert.pem", plain(pem), "warn private-key"},
		{"tests of a user", "home/admin/tests/key.pem", plain(pem), "refuse private-key"},
		{"a program's strings", "usr/bin/openssl", plain("\x7fELF" + pem), ""},
		{"a header alone", "usr/share/perl5/Key.pm", plain("print \"-----BEGIN RSA PRIVATE KEY-----\\n\";\n# -----BEGIN RSA PRIVATE KEY-----\n"), ""},
		{"a manual's example", "usr/lib/python3/dist-packages/cloudinit/config/cc_ssh.py", plain(strings.Replace(pem, "\n-----END", "\n...\n-----END", 1)), ""},
		{"a certificate", "etc/ssl/certs/ca.pem", plain("-----BEGIN CERTIFICATE-----\nMIIBMIIBMIIBMIIBMIIBMIIBMIIBMIIBMIIB\n"), ""},
		{"too big for a key", "var/lib/blob", plain(pem + strings.Repeat("x", maxKeyFile)), ""},

		{"authorized_keys", "root/.ssh/authorized_keys", plain("ssh-rsa AAAA me\n"), "refuse authorized-keys"},
		{"of a user", "home/admin/.ssh/authorized_keys2", plain("# mine\nssh-rsa AAAA me\n"), "refuse authorized-keys"},
		{"only comments", "root/.ssh/authorized_keys", plain("# nobody\n\n"), ""},
		{"known_hosts", "root/.ssh/known_hosts", plain("|1|abc\n"), "warn known-hosts"},

		{"shell", "root/.bash_history", plain("ls\n"), "refuse history"},
		{"psql", "var/lib/postgresql/.psql_history", plain("select\n"), "refuse history"},
		{"mysql", "root/.mysql_history", plain("x"), "refuse history"},
		{"python", "home/admin/.python_history", plain("x"), "refuse history"},
		{"less", "root/.lesshst", plain("x"), "refuse history"},
		{"empty history", "root/.bash_history", plain(""), ""},
		{"a history that is a link", "root/.bash_history", node(unix.S_IFLNK | 0o777), ""},

		{"machine id", "etc/machine-id", plain("0123456789abcdef0123456789abcdef\n"), "refuse machine-id"},
		{"uninitialized", "etc/machine-id", plain("uninitialized\n"), "refuse machine-id"},
		{"machine id is a link", "etc/machine-id", node(unix.S_IFLNK | 0o777), "refuse machine-id"},
		{"empty machine id", "etc/machine-id", plain(""), ""},
		{"D-Bus", "var/lib/dbus/machine-id", plain("0123\n"), "refuse machine-id"},
		{"D-Bus link", "var/lib/dbus/machine-id", node(unix.S_IFLNK | 0o777), ""},
		{"seed", "var/lib/systemd/random-seed", plain("x"), "refuse random-seed"},
		{"boot loader's seed", "boot/efi/loader/random-seed", plain("x"), "refuse random-seed"},

		{"locked", "etc/shadow", plain("root:*:19000:0:99999:7:::\na:!:1::::::\nb:!*:1::::::\nc:!!:1::::::\n"), ""},
		{"password", "etc/shadow", plain("root:$y$j9T$abc:19000:0:99999:7:::\n"), "refuse password"},
		{"locked password", "etc/shadow", plain("root:!$6$abc:19000:0:99999:7:::\n"), "refuse password"},
		{"no password", "etc/shadow", plain("root::19000:0:99999:7:::\n"), "refuse password"},
		{"backup", "etc/shadow-", plain("root:$1$abc:19000::::::\n"), "refuse password"},
		{"passwd", "etc/passwd", plain("root:x:0:0:root:/root:/bin/sh\nnobody:*:65534:65534::/:/bin/false\n"), ""},
		{"passwordless", "etc/passwd", plain("guest::1000:1000::/:/bin/sh\n"), "refuse password"},
		{"hash in passwd", "etc/passwd", plain("guest:abJnggxhB/yWI:1000:1000::/:/bin/sh\n"), "refuse password"},
		{"second root", "etc/passwd", plain("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n"), "refuse second-root"},

		{"world-writable file", "etc/motd", node(unix.S_IFREG | 0o666), "refuse world-writable"},
		{"world-writable directory", "srv", node(unix.S_IFDIR | 0o777), "refuse world-writable"},
		{"sticky", "tmp", node(unix.S_IFDIR | unix.S_ISVTX | 0o777), ""},
		{"link", "bin", node(unix.S_IFLNK | 0o777), ""},
		{"setuid", "usr/bin/su", setuid(0), ""},
		{"setuid of another", "usr/bin/at", setuid(1), "warn setuid"},
		{"device", "srv/sda", node(unix.S_IFBLK | 0o600), "refuse device"},
		{"device in dev", "dev/console", memoryFile{Entry: Entry{Mode: unix.S_IFCHR | 0o600, Major: 5, Minor: 1}}, "warn device"},

		{"resolver", "etc/resolv.conf", plain("nameserver 10.0.0.2\n"), "refuse resolver"},
		{"empty resolver", "etc/resolv.conf", plain("# by DHCP\n"), ""},
		{"resolver link", "etc/resolv.conf", node(unix.S_IFLNK | 0o777), ""},
		{"policy", "usr/sbin/policy-rc.d", plain("exit 101"), "refuse service-policy"},
		{"cloud-init", "var/lib/cloud/instances/i-1/user-data.txt", plain("x"), ""},
		{"cloud-init link", "var/lib/cloud/instance", node(unix.S_IFLNK | 0o777), "refuse cloud-init-state"},
		{"cloud-init data", "var/lib/cloud/data/instance-id", plain("i-1"), "refuse cloud-init-state"},
		{"deb", "var/cache/apt/archives/a.deb", plain("x"), "warn package-cache"},
		{"pacman", "var/cache/pacman/pkg/a.pkg.tar.zst", plain("x"), "warn package-cache"},
		{"yum", "var/cache/yum/x86_64/6/base/repomd.xml", plain("x"), "warn package-cache"},
		{"lists", "var/lib/apt/lists/deb.debian.org_InRelease", plain("x"), "warn package-lists"},
		{"lists lock", "var/lib/apt/lists/lock", plain("x"), ""},
		{"log", "var/log/apt/term.log", plain("x"), "warn log"},
		{"empty log", "var/log/wtmp", plain(""), ""},
		{"dpkg-new", "etc/foo.dpkg-new", plain("x"), "warn package-leftover"},
		{"dpkg-tmp", "usr/bin/foo.dpkg-tmp", plain("x"), "warn package-leftover"},
		{"pacnew", "etc/pacman.conf.pacnew", plain("x"), "warn package-leftover"},
		{"temporary", "tmp/build/x", plain("x"), "warn temporary"},
		{"var/tmp", "var/tmp/x", plain("x"), "warn temporary"},
		{"run", "run/sshd.pid", plain("1"), "warn temporary"},
		{"lease", "var/lib/dhcp/dhclient.eth0.leases", plain("lease"), "warn network-state"},
		{"persistent names", "etc/udev/rules.d/70-persistent-net.rules", plain("ATTR{address}"), "warn network-state"},
		{"card", "etc/sysconfig/network-scripts/ifcfg-eth0", plain("DEVICE=eth0\nHWADDR=00:16:3e:00:00:01\n"), "warn network-state"},
		{"WLAN", "etc/wpa_supplicant/wpa_supplicant.conf", plain("network={\n\tpsk=\"secret\"\n}\n"), "refuse network-secret"},
		{"WireGuard", "etc/wireguard/wg0.conf", plain("[Interface]\nPrivateKey = abc=\n"), "refuse network-secret"},
		{"AWS", "root/.aws/credentials", plain("[default]\n"), "refuse credentials"},
		{"gcloud", "root/.config/gcloud/application_default_credentials.json", plain("{}"), "refuse credentials"},
		{"netrc", "home/admin/.netrc", plain("machine x"), "refuse credentials"},
		{"git", "root/.git-credentials", plain("https://u:p@h"), "refuse credentials"},
		{"Docker", "root/.docker/config.json", plain("{}"), "refuse credentials"},
		{"Kerberos", "etc/krb5.keytab", plain("x"), "refuse credentials"},
		{"coredump", "var/lib/systemd/coredump/core.x", plain("x"), "warn crash"},
		{"swap", "swapfile", plain("x"), "warn swap"},
		{"vim", "etc/.fstab.swp", plain("x"), "warn swap"},
		{"resume", "etc/initramfs-tools/conf.d/resume", plain("RESUME=UUID=x\n"), "warn resume"},
		{"iSCSI", "etc/iscsi/initiatorname.iscsi", plain("InitiatorName=iqn.1993-08.org.debian:01:abc\n"), "warn initiator"},
		{"iSCSI to be generated", "etc/iscsi/initiatorname.iscsi", plain("GenerateName=yes\n"), ""},

		{"host name", "etc/hostname", plain("forge7\n"), "refuse hostname"},
		{"host name in hosts", "etc/hosts", plain("127.0.1.1 forge7.example.org forge7\n"), "refuse hostname"},
		{"another's name", "etc/hosts", plain("127.0.1.1 forge77 myforge7 xforge7\n"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := Audit(t.Context(), memory{c.path: c.file}, AuditOptions{Hostname: "forge7"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				if f.Path != c.path || f.Detail == "" {
					t.Errorf("finding %+v", f)
				}
				got = append(got, string(f.Severity)+" "+f.Rule)
			}
			if want := strings.Split(c.want, ", "); c.want != "" && !slices.Equal(got, want) || c.want == "" && got != nil {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if Public(found) == strings.Contains(c.want, "refuse") {
				t.Errorf("Public = %v", Public(found))
			}
		})
	}
}

func TestAuditOfWhatIsMissing(t *testing.T) {
	found, err := Audit(t.Context(), memory{"usr/lib/systemd/systemd": plain("x"), "var/log/z": plain("x")}, AuditOptions{})
	want := []Finding{
		{"machine-id", Refuse, "etc/machine-id", "missing; it has to be an empty file"},
		{"log", Warn, "var/log/z", "a log of the build"},
	}
	if diff := cmp.Diff(want, found); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if found, err := Audit(t.Context(), memory{"sbin/init": plain("x")}, AuditOptions{}); err != nil || found != nil {
		t.Errorf("a tree without systemd: %v, %v", found, err)
	}
}

func TestAuditReadErrors(t *testing.T) {
	src := broken{memory{"etc/shadow": plain("root::1::::::\n")}}
	if _, err := Audit(t.Context(), src, AuditOptions{}); err == nil || !strings.Contains(err.Error(), "etc/shadow") {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

// half is a tree whose files cannot be read to their end.
type half struct{ Source }

func (h half) Open(name string) (File, error) {
	f, err := h.Source.Open(name)
	return &halfFile{File: f}, err
}

type halfFile struct {
	File
	begun bool
}

func (f *halfFile) Read(b []byte) (int, error) {
	if f.begun {
		return 0, errors.New("no")
	}
	f.begun = true
	return f.File.Read(b[:1])
}

func TestAuditReadsHalf(t *testing.T) {
	src := half{memory{"etc/shadow": plain("root::1::::::\n")}}
	if found, err := Audit(t.Context(), src, AuditOptions{}); err == nil || !strings.Contains(err.Error(), "etc/shadow") {
		t.Errorf("a file that can be read in part: %v, %v", found, err)
	}
}

// No file, whatever is in it, stops the audit.
func FuzzAudit(f *testing.F) {
	paths := []string{"etc/shadow", "etc/passwd", "etc/machine-id", "root/k", "etc/resolv.conf", "etc/hosts"}
	f.Add(0, []byte("root::1\n:\n"))
	f.Add(3, []byte(pem))
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		src := memory{paths[uint(which)%uint(len(paths))]: plain(string(data))}
		if _, err := Audit(t.Context(), src, AuditOptions{Hostname: "h"}); err != nil {
			t.Error(err)
		}
	})
}
