#!/bin/sh
# Freeze a small part of Debian 12 with apt's answers, for tests that need no network:
#
#	sh freeze.sh http://HOST/debian
#
# writes Packages.xz, the stanzas (without fields that the resolver does not read) of what the requests below
# install with all recommendations, and of some packages that compete with these; and answers.txt, what apt
# installs for each request when it knows Packages.xz alone. Needs apt-get, xz and Debian's archive keys.
set -euf
cd "$(dirname "$0")"
mirror=${1:?usage: freeze.sh http://HOST/debian}

requests='?essential
base-files
cron
bsd-mailx
bsd-mailx postfix
gawk
dbus-x11
systemd-sysv
libpam-systemd sysvinit-core
sysvinit-core systemd-sysv
exim4 postfix
chrony systemd-timesyncd
python3-venv
cloud-init cloud-guest-utils openssh-server sudo chrony linux-image-cloud-amd64 grub-pc systemd-sysv
openssh-server ca-certificates=0
mail-transport-agent
linux-image-amd64'

rivals='nullmailer dma msmtp-mta postfix exim4-daemon-heavy opensmtpd busybox-syslogd rsyslog syslog-ng-core original-awk mawk
busybox elogind consolekit libelogind0 bcron systemd-cron cronie sysvinit-core runit-init orphan-sysvinit-scripts ntpsec openntpd
linux-image-rt-amd64 dracut live-boot tinysshd dropbear-bin isc-dhcp-client dhcpcd5 dbus-user-session tini sudo-ldap'

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc/apt.conf.d" "$root/etc/preferences.d" "$root/state/lists/partial" "$root/cache/archives/partial" \
	"$root/dists/frozen/main/binary-amd64"
: >"$root/status"
cat >"$root/apt.conf" <<END
Dir "$root"; Dir::State "state"; Dir::State::status "$root/status"; Dir::Cache "cache"; Dir::Etc "etc";
APT::Architecture "amd64"; APT::Architectures { "amd64"; }; APT::Sandbox::User "root"; Acquire::Languages "none";
pkgCacheGen::ForceEssential ","; # else apt counts itself among the essential packages
END
export APT_CONFIG="$root/apt.conf" LC_ALL=C.UTF-8

# answer RECOMMENDS PACKAGE...: sorted lines "name version"; "unsatisfiable" where apt finds no way.
answer() {
	recommends=$1
	shift
	if apt-get --simulate -oAPT::Install-Recommends="$recommends" install "$@" >"$root/out" 2>/dev/null; then
		sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/p' "$root/out" | sort
	else
		echo unsatisfiable
	fi
}

key=/usr/share/keyrings/debian-archive-keyring.gpg
cat >"$root/etc/sources.list" <<END
deb [signed-by=$key] $mirror bookworm main
deb [signed-by=$key] $mirror-security bookworm-security main
END
apt-get -qq update
{
	echo "$requests" | while read -r request; do
		answer true $request
	done | sed 's/ .*//'
	echo $rivals | tr ' ' '\n'
} | sort -u >"$root/names"

# The newest version of each of them, in the order of the indexes.
cat $(find "$root/state/lists" -name "*Packages" | sort -r) |
	awk -v ORS='\n\n' -v names="$root/names" '
		BEGIN { while ((getline n < names) > 0) if (n != "unsatisfiable") want[n] = 1; RS = "" }
		{
			split($0, line, "\n"); split(line[1], f, " ")
			if (!(f[2] in want)) next
			out = ""; keep = 0
			for (i = 1; i in line; i++) {
				if (line[i] !~ /^[ \t]/) keep = line[i] ~ /^(Package|Version|Architecture|Source|Priority|Filename|Size|SHA256|Multi-Arch|Essential|Protected|Important|Pre-Depends|Depends|Recommends|Conflicts|Breaks|Provides|Suggests|Replaces|Enhances):/
				if (keep) out = out (out == "" ? "" : "\n") line[i]
			}
			print out
		}' >"$root/dists/frozen/main/binary-amd64/Packages"
xz -9e -c "$root/dists/frozen/main/binary-amd64/Packages" >Packages.xz

printf 'Suite: frozen\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n %s %s main/binary-amd64/Packages\n' \
	"$(sha256sum <"$root/dists/frozen/main/binary-amd64/Packages" | cut -d' ' -f1)" \
	"$(stat -c%s "$root/dists/frozen/main/binary-amd64/Packages")" >"$root/dists/frozen/Release"
echo "deb [trusted=yes] file:$root frozen main" >"$root/etc/sources.list"
find "$root/state/lists" "$root/cache" -type f -delete
apt-get -qq update
echo "$requests" | while read -r request; do
	for recommends in false true; do
		echo "# $recommends $request"
		answer "$recommends" $request
	done
done >answers.txt
