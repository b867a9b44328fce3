package verify

import (
	"regexp"
	"sync"
)

// Names of the stages of a boot, in their order. Firmware is passed when the machine starts; login and
// checks are known from SSH; the others are read off the console.
var stageNames = []string{"firmware", "bootloader", "kernel", "initramfs", "init", "network", "sshd", "cloud-init", "login", "checks"}

// stagePatterns tell the first line of a stage.
var stagePatterns = map[string]string{
	"bootloader": `GRUB (loading|version)|Welcome to GRUB|Booting .*(command list|a command)|Loading Linux |Loading initial ramdisk|systemd-boot|Booting from Hard Disk|BdsDxe: starting|EFI stub: `,
	"kernel":     `Linux version \d|Command line: |Decompressing Linux|\] Run /\S*init as init process`,
	"initramfs":  `Run /init as init process|Begin: |dracut|Loading, please wait|:: running (early )?hook|running in initrd`,
	"init":       `systemd\[1\]: .*running in system mode|Welcome to .*(Linux|CentOS|Red Hat|Fedora|Ubuntu)|INIT: version|init: \S+ main process|Hostname set to`,
	"network":    `Reached target.*[Nn]etwork( is [Oo]nline|-online|\.target| *-? *Network)|ci-info: .*\| +(eth|en)\S+ +\| +True|Bringing up interface (eth|en)\S+:.*\[ +OK|Determining IP information for .*done`,
	"sshd":       `Started ssh[d@]?\S*|Started .*(OpenBSD Secure Shell|OpenSSH)|Starting sshd: .*OK|Reached target.*SSH`,
	"cloud-init": `[Cc]loud-init v\. \S+ (running|finished)`,
}

// stage pairs a name with its compiled pattern.
type stage struct {
	name string
	re   *regexp.Regexp
}

var consoleStages = sync.OnceValue(func() []stage {
	var all []stage
	for _, name := range stageNames {
		if p, ok := stagePatterns[name]; ok {
			all = append(all, stage{name, regexp.MustCompile(p)})
		}
	}
	return all
})
