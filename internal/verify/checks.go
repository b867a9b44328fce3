package verify

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"ingot/internal/imds"
	"ingot/internal/machine"
	"ingot/internal/shell"
)

// check is a look at the guest: a script for its shell that succeeds where all is well, and prints what it
// saw. It may use the variables that facts sets.
type check struct {
	name   string
	when   string // shell condition: the check applies where it holds; "" for everywhere
	script string
	judged bool // what is printed is a log, and judged by the rules
}

const (
	onSystemd   = `[ -d /run/systemd/system ]`
	onCloudInit = `command -v cloud-init >/dev/null`
)

// checks are in the order in which they make sense: the first waits until the boot is over.
var checks = []check{
	{name: "cloud-init", when: onCloudInit, script: `
		cloud-init status --wait >/dev/null 2>&1
		status=$(cloud-init status --format json 2>/dev/null) || status=$(cloud-init status --long 2>&1)
		status=$(echo "$status" | tr -s '\n ' ' ')
		echo "$status"
		echo "$status" | grep -Eq '"?status"?: "?done' || exit 1
		if echo "$status" | tr -d ' \n' | grep -Eq '"(errors|recoverable_errors)":(\[[^]]|\{[^}])'; then exit 1; fi
		! sudo -n grep -E '\[(WARNING|ERROR|CRITICAL)\]|Traceback' /var/log/cloud-init.log`},
	{name: "system-state", when: onSystemd, script: `
		state=$(systemctl is-system-running --wait 2>&1)
		echo "$state"
		systemctl --no-legend --plain --failed
		systemctl --no-legend --plain list-jobs
		[ "$state" = running ]`},
	{name: "sudo", script: `sudo -n id -un | grep -x root`},
	{name: "authorized-key", script: `
		keys=$(grep -v '^[[:space:]]*\(#\|$\)' ~/.ssh/authorized_keys)
		echo "$keys"
		[ "$(echo "$keys" | wc -l)" -eq 1 ] && echo "$keys" | grep -qF "$KEY"`},
	{name: "no-passwords", script: `
		settings=$(sudo -n /usr/sbin/sshd -T | grep -Ei '^(passwordauthentication|permitrootlogin|permitemptypasswords) ')
		echo "$settings"
		echo "$settings" | grep -iqx 'passwordauthentication no'`},
	{name: "root-size", when: `[ "$DISK_BYTES" -gt "$IMAGE_BYTES" ]`, script: `
		root=$(( $(stat -f -c '%b * %S' /) ))
		echo "root filesystem of $root bytes, image of $IMAGE_BYTES, disk of $DISK_BYTES"
		[ "$root" -gt $(( (IMAGE_BYTES + DISK_BYTES) / 2 )) ]`},
	{name: "metadata", when: `command -v bash >/dev/null`, script: `
		exec bash -c '
			ask() {
				exec 3<>/dev/tcp/169.254.169.254/80 || exit 1
				printf "%s HTTP/1.0\r\nHost: 169.254.169.254\r\n%s\r\n\r\n" "$1" "$2" >&3
				sed "1,/^\r*$/d" <&3
				exec 3>&-
			}
			token=$(ask "PUT /latest/api/token" "X-aws-ec2-metadata-token-ttl-seconds: 60")
			id=$(ask "GET /latest/meta-data/instance-id" "X-aws-ec2-metadata-token: $token")
			echo "instance-id is $id"
			[ "$id" = "$0" ]' "$INSTANCE_ID"`},
	{name: "hostname", when: onCloudInit, script: `
		uname -n
		[ "$(uname -n | cut -d. -f1)" = "$HOST_NAME" ]`},
	{name: "machine-id", when: onSystemd, script: `
		cat /etc/machine-id
		grep -Eqx '[0-9a-f]{32}' /etc/machine-id || exit 1
		boot=$(awk '$1 == "btime" { print $2 }' /proc/stat)
		[ "$(stat -c %Y /etc/machine-id)" -ge $(( boot - 5 )) ] || { echo 'it is older than this boot'; exit 1; }`},
	{name: "host-keys", script: `
		boot=$(awk '$1 == "btime" { print $2 }' /proc/stat)
		for key in /etc/ssh/ssh_host_*_key; do
			stat -c '%n %A %U' "$key" || exit 1
			[ "$(stat -c %Y "$key")" -ge $(( boot - 5 )) ] || { echo 'it is older than this boot'; exit 1; }
		done`},
	{name: "time-source", script: `
		if command -v chronyc >/dev/null; then
			chronyc -n sources && chronyc -n sources | grep -q '^[\^#]'
		elif [ "$(timedatectl show --property NTP --value 2>/dev/null)" = yes ]; then
			timedatectl show
		else
			ps -e -o comm= | grep -xE 'ntpd|chronyd|openntpd|systemd-timesyn'
		fi`},
	{name: "root-writable", script: `
		grep ' / ' /proc/mounts
		probe=$(mktemp ~/.ingot-XXXXXX) && rm "$probe"`},
	{name: "kernel-errors", script: `
		errors=$(sudo -n dmesg -r | grep -E '^<[0-2]>')
		echo "$errors"
		[ -z "$errors" ]`},
	{name: "log", judged: true, script: `
		if [ -d /run/systemd/system ]; then
			sudo -n journalctl --boot --no-pager --output short-monotonic
		else
			sudo -n dmesg
		fi`},
}

// Checks returns the names of the checks, for documentation and for names to allow.
func Checks() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// Limits of checks. A script may wait for the guest to finish booting, so only the boot's own limit binds it.
const (
	skipStatus  = 77        // what a check ends with where it does not apply
	detailLimit = 2 << 10   // bytes kept of what a check printed
	logLimit    = 8 << 20   // bytes of a log that are judged
	outputLimit = 256 << 10 // bytes read of anything else
)

// facts are the variables that the checks' scripts compare with.
func (t *test) facts() string {
	size := int64(0)
	if info, err := os.Stat(t.Image); err == nil {
		size = info.Size()
	}
	instance := imds.Instance{LocalIPv4: machine.GuestAddress}
	name, _, _ := strings.Cut(instance.PrivateName(), ".")
	values := map[string]string{
		"DISK_BYTES": fmt.Sprint(t.machine.Config().DiskSize), "IMAGE_BYTES": fmt.Sprint(size),
		"INSTANCE_ID": instanceID, "HOST_NAME": name, "KEY": t.key.authorized,
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&b, "%s=%s\n", name, shell.Quote(values[name]))
	}
	return b.String()
}

// runChecks looks at the guest, and runs the recipe's commands.
func (t *test) runChecks(ctx context.Context, g *guest) {
	all := slices.Clone(checks)
	for _, command := range t.Run {
		all = append(all, check{name: "run: " + command, script: command})
	}
	facts := t.facts()
	for _, c := range all {
		if ctx.Err() != nil {
			return
		}
		t.add(t.runCheck(ctx, g, c, facts))
	}
	t.add(t.announcedKey(g))
}

func (t *test) add(c Check) {
	if !c.Passed && slices.Contains(t.Allow, c.Name) {
		c.Skipped, c.Detail = true, "allowed to fail: "+c.Detail
	}
	t.verdict.Checks = append(t.verdict.Checks, c)
	switch {
	case c.Skipped:
	case c.Passed:
		t.Task.Logf("check %s: good (%.1f s)", c.Name, c.Seconds)
	default:
		t.Task.Logf("check %s: FAILED: %s", c.Name, c.Detail)
	}
}

func (t *test) runCheck(ctx context.Context, g *guest, c check, facts string) Check {
	start := time.Now()
	input, limit := facts, outputLimit
	if c.when != "" {
		input += fmt.Sprintf("if ! { %s; }; then exit %d; fi\n", c.when, skipStatus)
	}
	if c.judged {
		limit = logLimit
	}
	// The script comes over standard input, and must not eat itself: what it runs reads nothing.
	input += "{ " + strings.TrimSpace(c.script) + "\n} </dev/null\n"
	out, status, err := g.run(ctx, "/bin/sh -s", input, limit)
	result := Check{Name: c.name, Passed: err == nil && status == 0, Skipped: err == nil && status == skipStatus && c.when != ""}
	switch {
	case err != nil:
		result.Detail = clip(out + " " + err.Error())
	case c.judged && result.Passed:
		t.watch.Judge(out, Anywhere)
		result.Detail = fmt.Sprintf("%d lines", strings.Count(out, "\n"))
	case result.Skipped:
		result.Detail = "does not apply to this guest"
	case !result.Passed && strings.TrimSpace(out) == "":
		result.Detail = fmt.Sprintf("exit status %d", status)
	default:
		result.Detail = clip(out)
	}
	result.Seconds = seconds(time.Since(start))
	return result
}

// clip keeps the end of a text, where errors are.
func clip(text string) string {
	text = strings.TrimSpace(text)
	if over := len(text) - detailLimit; over > 0 {
		for over < len(text) && !utf8.RuneStart(text[over]) {
			over++
		}
		text = "…" + text[over:]
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// announcedKey compares the host key that was met with those that the guest printed on its console.
func (t *test) announcedKey(g *guest) Check {
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	c := Check{Name: "announced-host-key", Detail: g.hostKey + " " + g.key.Type()}
	switch {
	case len(t.watch.hostKeys) == 0:
		c.Skipped, c.Detail = true, "the console announces no host keys"
	case slices.Contains(t.watch.hostKeys, ssh.FingerprintSHA256(g.key)):
		c.Passed = true
	default:
		c.Detail += " is none of those announced: " + strings.Join(t.watch.hostKeys, " ")
	}
	return c
}
