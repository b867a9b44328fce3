package verify

import (
	"regexp"
	"sync"
)

// Severity says what a finding does to a verdict.
type Severity string

const (
	Fatal Severity = "fatal" // the boot cannot succeed any more: the verdict fails at once
	Fail  Severity = "fail"  // the verdict fails in the end
	Warn  Severity = "warn"  // it is told, no more
)

// Scope says in which texts a rule looks for its pattern.
type Scope string

const (
	Console  Scope = "console" // what the guest prints on its serial port
	Anywhere Scope = "any"     // there, and in the guest's journal or kernel log
)

// Rule is a pattern that a line of a healthy boot does not match.
type Rule struct {
	Name     string
	Pattern  string // RE2 syntax, matched against one line without escape sequences
	Severity Severity
	Scope    Scope
	Meaning  string // what it tells a person
}

const stallRule = "stall"

// rules are in the order in which a boot would break them; a line is charged to the first that matches.
var rules = []Rule{
	{"no-boot-device", `No bootable device|Boot failed: not a bootable disk|No bootable option or device was found|^Shell> `, Fatal, Console,
		"the firmware finds nothing to boot: the boot code or the EFI loader is missing"},
	{"grub-rescue", `^grub( rescue)?> *$`, Fatal, Console, "GRUB gave up and waits for commands"},
	{"grub-error", `^(\.+ *)?error: .*(no such|not found|unknown filesystem|invalid magic|invalid arch|bad shim|outside of (disk|partition)|you need to load the kernel first|premature end of file|can't find command)`,
		Fatal, Console, "GRUB cannot read what it needs"},
	{"kernel-panic", `Kernel panic - not syncing`, Fatal, Anywhere, "the kernel gave up"},
	{"no-root", `VFS: (Cannot open root device|Unable to mount root fs)|ALERT! .*does not exist|Gave up waiting for (root|suspend/resume) (file system )?device|ERROR: (device '.*' not found|Failed to mount '.*' on real root)|dracut.*Warning: .*does not exist|mount: mounting .* on /root failed`,
		Fatal, Console, "the root filesystem was not found: a driver is missing in the initramfs, or root= is wrong"},
	{"initramfs-shell", `^\(initramfs\)|^dracut:/# ?|Dropping to (a )?(debug )?shell|dropped (in)?to (a |an emergency )?shell|dracut.*(Refusing to continue|FATAL)`,
		Fatal, Console, "the initramfs gave up and opened a shell"},
	{"emergency-mode", `You are in (emergency|rescue) mode|Entering emergency mode|Reached target.*([Ee]mergency|[Rr]escue)( Mode|\.target)|Give root password for|for maintenance$|Started emergency\.service`,
		Fatal, Console, "systemd or init gave up and waits for an administrator"},
	{"no-init", `No working init found|Failed to execute (/\S*init|/lib/systemd/systemd)|Requested init .* failed`, Fatal, Console, "the kernel found no init to run"},
	{"init-frozen", `systemd\[1\]: (Freezing execution|Caught <\w+>)|Freezing execution\.`, Fatal, Console, "systemd crashed"},

	{"kernel-oops", `\bBUG: (unable|kernel|Bad|sleeping|scheduling)|\bOops: |general protection fault|kernel BUG at|Unable to handle kernel|invalid opcode: `, Fail, Anywhere,
		"the kernel hit a defect"},
	{"kernel-trace", `Call Trace:|\[ cut here \]-|WARNING: CPU: \d+ PID: `, Fail, Anywhere, "the kernel warns with a trace"},
	{stallRule, `soft lockup|detected stalls on CPUs|self-detected stall|blocked for more than \d+ seconds`, Warn, Anywhere,
		"a CPU or a task got nowhere; on a slow host that is the host"},
	{"oom", `Out of memory: Kill|invoked oom-killer|\boom-kill:|Memory cgroup out of memory`, Fail, Anywhere, "memory ran out"},
	{"io-error", `\bI/O error[, ]+.*(dev|sector|block)|critical (medium|target|space allocation) error|rejecting I/O to (offline|dead) device|nvme.*(timeout, aborting|Abort status)`, Fail, Anywhere,
		"the disk failed a request"},
	{"filesystem-error", `EXT4-fs error|EXT4-fs \(.*(Remounting filesystem read-only|delayed block allocation failed)|JBD2: .*(error|abort)|Aborting journal|XFS \(.*(Corruption|Internal error|I/O error)|BTRFS (error|critical)`, Fail, Anywhere,
		"the kernel found a filesystem damaged"},
	{"fsck", `UNEXPECTED INCONSISTENCY|RUN fsck MANUALLY|fsck failed with`, Fail, Anywhere, "fsck found damage that it does not repair by itself"},
	{"read-only-root", `Read-only file system`, Fail, Anywhere, "something could not be written"},
	{"segfault", `segfault at [0-9a-f]+ ip|\btraps: .*(trap |general protection)|code=dumped|dumped core`, Fail, Anywhere, "a program crashed"},
	{"ordering-cycle", `[Oo]rdering cycle|deleted to break ordering`, Fail, Anywhere, "units wait for each other in a circle"},
	{"device-timeout", `Timed out waiting for device`, Fail, Anywhere, "a device named in fstab or by a unit never came"},
	{"dependency-failed", `\[DEPEND\]|Dependency failed for `, Fail, Anywhere, "a unit was not started because another had failed"},
	{"unit-failed", `\[\s*FAILED\s*\]|systemd\[1\]: Failed to start |systemd\[1\]: \S+: Failed with result|init: \S+ main process .*terminated with status`, Fail, Anywhere,
		"a service failed"},
	{"generator-failed", `/system-(environment-)?generators/\S+ (failed|terminated)`, Fail, Anywhere, "a systemd generator failed"},
	{"cloud-init-source", `[Uu]sed fallback datasource|No instance datasource found|DataSourceNone`, Fail, Anywhere, "cloud-init did not reach the instance metadata"},
	{"cloud-init-failure", `cloud-init.*(Traceback|\b(ERROR|CRITICAL)\b|[Ff]ailed (running|to run) module)|\.py\[(WARNING|ERROR|CRITICAL)\]`, Fail, Anywhere, "cloud-init failed or warns"},
	{"traceback", `Traceback \(most recent call last\)|^panic: |goroutine \d+ \[running\]`, Fail, Anywhere, "a program crashed with a trace"},
	{"module-missing", `modprobe: (FATAL|ERROR)|Failed to (find|insert) module`, Warn, Anywhere, "a kernel module is asked for and not there"},
	{"firmware-missing", `Direct firmware load for \S+ failed|firmware: failed to load`, Warn, Anywhere, "a driver did not get its firmware"},
	{"denied", `avc: +denied|apparmor="DENIED"`, Warn, Anywhere, "a security module refused something"},
}

// Rules returns the rules that consoles are judged by, for documentation and for names to allow.
func Rules() []Rule { return append([]Rule(nil), rules...) }

// compiled holds the patterns of rules, by index.
var compiled = sync.OnceValue(func() []*regexp.Regexp {
	all := make([]*regexp.Regexp, len(rules))
	for i, r := range rules {
		all[i] = regexp.MustCompile(r.Pattern)
	}
	return all
})

// match returns the first rule of a scope that a line breaks, or nil.
func match(line string, scope Scope) *Rule {
	for i, re := range compiled() {
		if (rules[i].Scope == Anywhere || scope == Console) && re.MatchString(line) {
			return &rules[i]
		}
	}
	return nil
}
