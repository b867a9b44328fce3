package verify

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bad are lines of consoles, as kernels and programs print them, and the rule that each breaks.
var bad = map[string]string{
	"No bootable device.":                             "no-boot-device",
	"BdsDxe: No bootable option or device was found.": "no-boot-device",
	"grub>":        "grub-rescue",
	"grub rescue>": "grub-rescue",
	"error: file `/boot/grub/i386-pc/normal.mod' not found.":                                   "grub-error",
	"error: no such device: 1b2c.":                                                             "grub-error",
	"..error: unknown filesystem.":                                                             "grub-error",
	"error: attempt to read or write outside of disk `hd0'.":                                   "grub-error",
	"[    1.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)": "kernel-panic",
	"[    1.8] VFS: Cannot open root device \"PARTUUID=x\" or unknown-block(0,0): error -6":    "no-root",
	"ALERT!  UUID=11111111-2222 does not exist.  Dropping to a shell!":                         "no-root",
	"Gave up waiting for root file system device.  Common problems:":                           "no-root",
	"ERROR: device 'UUID=ab' not found. Skipping fsck.":                                        "no-root",
	"ERROR: Failed to mount 'UUID=ab' on real root":                                            "no-root",
	"dracut-initqueue[297]: Warning: /dev/disk/by-uuid/x does not exist":                       "no-root",
	"(initramfs)": "initramfs-shell",
	"You are now being dropped into an emergency shell.":                                                  "initramfs-shell",
	"Dropping to debug shell.":                                                                            "initramfs-shell",
	"dracut: Refusing to continue":                                                                        "initramfs-shell",
	"You are in emergency mode. After logging in, type \"journalctl -xb\" to view":                        "emergency-mode",
	"[  OK  ] Reached target emergency.target - Emergency Mode.":                                          "emergency-mode",
	"Give root password for maintenance":                                                                  "emergency-mode",
	"Press Enter for maintenance":                                                                         "emergency-mode",
	"Generating \"/run/initramfs/rdsosreport.txt\" Entering emergency mode. Exit the":                     "emergency-mode",
	"[    2.1] Starting init: /lib/systemd/systemd exists but couldn't execute it; No working init found": "no-init",
	"systemd[1]: Freezing execution.":                                                                     "init-frozen",
	"[    5.0] BUG: unable to handle page fault for address: ffffc90000a3d000":                            "kernel-oops",
	"[    5.0] Oops: 0002 [#1] PREEMPT SMP NOPTI":                                                         "kernel-oops",
	"[    5.0] kernel BUG at fs/ext4/inode.c:2700!":                                                       "kernel-oops",
	"[    5.0] ------------[ cut here ]------------":                                                      "kernel-trace",
	"[    5.0] WARNING: CPU: 1 PID: 9 at kernel/x.c:12 f+0x1/0x2":                                         "kernel-trace",
	"[   50.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]":                           "stall",
	"[   50.0] INFO: task jbd2/vda1-8:99 blocked for more than 120 seconds.":                              "stall",
	"[   50.0] Out of memory: Killed process 412 (python3) total-vm:1kB":                                  "oom",
	"[   50.0] python3 invoked oom-killer: gfp_mask=0x1":                                                  "oom",
	"[    6.0] I/O error, dev nvme0n1, sector 2048 op 0x0:(READ)":                                         "io-error",
	"[    6.0] blk_update_request: I/O error, dev vda, sector 8":                                          "io-error",
	"[    6.0] Buffer I/O error on dev sda1, logical block 0":                                             "io-error",
	"[    6.0] EXT4-fs error (device nvme0n1p1): ext4_lookup:1855: inode #2: comm x":                      "filesystem-error",
	"[    6.0] EXT4-fs (vda1): Remounting filesystem read-only":                                           "filesystem-error",
	"root: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.":                                                  "fsck",
	"touch: cannot touch '/x': Read-only file system":                                                     "read-only-root",
	"[    9.0] sshd[44]: segfault at 0 ip 00007f sp 00007f error 4 in libc.so.6":                          "segfault",
	"systemd[1]: x.service: Main process exited, code=dumped, status=11/SEGV":                             "segfault",
	"systemd[1]: sysinit.target: Found ordering cycle on a.service/start":                                 "ordering-cycle",
	"[ TIME ] Timed out waiting for device dev-sdb1.device - /dev/sdb1.":                                  "device-timeout",
	"[DEPEND] Dependency failed for local-fs.target - Local File Systems.":                                "dependency-failed",
	"[FAILED] Failed to start chrony.service - chrony, an NTP client/server.":                             "unit-failed",
	"Starting sshd:                                             [FAILED]":                                 "unit-failed",
	"systemd[1]: chrony.service: Failed with result 'exit-code'.":                                         "unit-failed",
	"init: tty (/dev/tty1) main process (1) terminated with status 1":                                     "",
	"init: ec2-init main process (812) terminated with status 1":                                          "unit-failed",
	"systemd[200]: /usr/lib/systemd/system-generators/x failed with exit status 1.":                       "generator-failed",
	"2026-11-22 13:05:20,029 - cc_final_message.py[WARNING]: Used fallback datasource":                    "cloud-init-source",
	"[   34.2] cloud-init[413]: 2026-11-22 13:05:20,029 - util.py[WARNING]: Running module locale failed": "cloud-init-failure",
	"cloud-init[413]: Traceback (most recent call last):":                                                 "cloud-init-failure",
	"Traceback (most recent call last):":                                                                  "traceback",
	"[    3.0] modprobe: FATAL: Module nvme not found in directory /lib/modules/6":                        "module-missing",
	"[    3.0] x 0000:00:03.0: Direct firmware load for x.bin failed with error -2":                       "firmware-missing",
	`[    3.0] audit: type=1400 apparmor="DENIED" operation="open"`:                                       "denied",
}

func TestRules(t *testing.T) {
	t.Parallel()
	broken := map[string]bool{}
	for line, want := range bad {
		got := ""
		if r := match(line, Console); r != nil {
			got = r.Name
		}
		if got != want {
			t.Errorf("%q breaks %q, want %q", line, got, want)
		}
		broken[want] = true
	}
	names := map[string]bool{}
	for _, r := range Rules() {
		if !regexp.MustCompile(`^[a-z-]+$`).MatchString(r.Name) || names[r.Name] || r.Meaning == "" {
			t.Errorf("rule %q has a bad or double name, or no meaning", r.Name)
		}
		names[r.Name] = true
		if !broken[r.Name] {
			t.Errorf("no line tests rule %s", r.Name)
		}
	}
	if r := match("grub>", Anywhere); r != nil {
		t.Errorf("a journal's line breaks %s, which is for consoles", r.Name)
	}
}

// TestTranscripts judges consoles of whole boots, as QEMU captured them.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]struct {
		rules  []string // names of the findings, in order
		stages []string
		keys   int
	}{
		"debian-12-bios.log": {nil, []string{"bootloader", "kernel", "initramfs", "init", "network", "cloud-init"}, 4},
		"debian-12-no-root.log": {[]string{"no-root", "no-root", "initramfs-shell"},
			[]string{"kernel", "initramfs"}, 0},
		"panic.log": {[]string{"no-root", "kernel-panic", "kernel-trace"}, []string{"kernel"}, 0},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			w := newWatcher(io.Discard, nil, nil)
			for i := range data { // QEMU hands over byte by byte
				_, _ = w.Write(data[i : i+1])
			}
			w.finish()
			var rules, stages []string
			for _, f := range w.findings {
				rules = append(rules, f.Rule)
			}
			for _, name := range stageNames {
				if _, ok := w.stages[name]; ok {
					stages = append(stages, name)
				}
			}
			if d := cmp.Diff(want.rules, rules); d != "" {
				t.Errorf("findings: %s\n%v", d, w.findings)
			}
			if d := cmp.Diff(want.stages, stages); d != "" {
				t.Errorf("stages: %s", d)
			}
			if len(w.hostKeys) != want.keys {
				t.Errorf("%d host keys announced: %v", len(w.hostKeys), w.hostKeys)
			}
		})
	}
}

func TestWatcher(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	w := newWatcher(&log, nil, []string{"oom"})
	fatal := func() bool {
		select {
		case <-w.fatal:
			return true
		default:
			return false
		}
	}
	_, _ = io.WriteString(w, "[ 1.0] Out of memory: Killed process 1\n[ 2.0] blocked for more than 120 seconds\n")
	if w.failure() != "" || fatal() || len(w.findings) != 2 || !w.findings[0].Allowed {
		t.Errorf("an allowed finding and a warning fail the boot: %q %+v", w.failure(), w.findings)
	}
	_, _ = io.WriteString(w, "[ 3.0] Oops: 1\n")
	w.Judge("[    3.000000] ip-1 kernel: Oops: 1\n[    4.000000] ip-1 kernel: Oops: 2\n", Anywhere)
	if len(w.findings) != 4 || fatal() || !strings.Contains(w.failure(), "Oops: 1") {
		t.Errorf("findings %+v", w.findings)
	}
	_, _ = io.WriteString(w, "(initramfs) ") // a prompt, without an end of line
	if !fatal() || !strings.Contains(w.failure(), "initramfs-shell") {
		t.Errorf("a prompt went unnoticed: %q", w.failure())
	}
	_, _ = io.WriteString(w, "grub> \n")
	for range 100 {
		_, _ = io.WriteString(w, "[ 5.0] BUG: unable "+strings.Repeat("x", len(w.findings))+"\n")
	}
	if w.perRule["kernel-oops"] != maxPerRule {
		t.Errorf("%d findings of one rule", w.perRule["kernel-oops"])
	}
	if !strings.HasPrefix(log.String(), "[ 1.0] Out") || !strings.Contains(w.where(), `last line is "[ 5.0] BUG`) {
		t.Errorf("log %.20q, %s", log.String(), w.where())
	}
}
