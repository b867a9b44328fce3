package install

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// capNames are the capabilities by number (linux/capability.h).
var capNames = strings.Fields(`cap_chown cap_dac_override cap_dac_read_search cap_fowner cap_fsetid cap_kill cap_setgid cap_setuid
	cap_setpcap cap_linux_immutable cap_net_bind_service cap_net_broadcast cap_net_admin cap_net_raw cap_ipc_lock cap_ipc_owner
	cap_sys_module cap_sys_rawio cap_sys_chroot cap_sys_ptrace cap_sys_pacct cap_sys_admin cap_sys_boot cap_sys_nice
	cap_sys_resource cap_sys_time cap_sys_tty_config cap_mknod cap_lease cap_audit_write cap_audit_control cap_setfcap
	cap_mac_override cap_mac_admin cap_syslog cap_wake_alarm cap_block_suspend cap_audit_read cap_perfmon cap_bpf
	cap_checkpoint_restore`)

// The layout of security.capability, revision 2 (linux/capability.h).
const (
	capRevision  = 2 << 24
	capEffective = 1
)

// parseCaps reads capabilities as cap_from_text(3) does and returns the value of security.capability; nil for none.
func parseCaps(text string) ([]byte, error) {
	var permitted, inheritable, effective uint64
	for _, clause := range strings.Fields(text) {
		at := strings.IndexAny(clause, "=+-")
		if at < 0 {
			return nil, fmt.Errorf("%q lacks one of =, + and -", clause)
		}
		which, err := capList(clause[:at])
		if err != nil {
			return nil, err
		}
		if clause[:at] == "" && clause[at] != '=' {
			return nil, fmt.Errorf("%q names no capability", clause)
		}
		for rest := clause[at:]; rest != ""; {
			op := rest[0]
			flags := rest[1:]
			if n := strings.IndexAny(flags, "=+-"); n >= 0 {
				flags, rest = flags[:n], flags[n:]
			} else {
				rest = ""
			}
			if op == '=' {
				permitted, inheritable, effective = permitted&^which, inheritable&^which, effective&^which
			}
			for _, f := range flags {
				var set *uint64
				switch f {
				case 'p':
					set = &permitted
				case 'i':
					set = &inheritable
				case 'e':
					set = &effective
				default:
					return nil, fmt.Errorf("%q: flag %q is none of e, i, p", clause, f)
				}
				if op == '-' {
					*set &^= which
				} else {
					*set |= which
				}
			}
		}
	}
	magic := uint32(capRevision)
	switch {
	case permitted|inheritable == 0 && effective == 0:
		return nil, nil
	case effective != 0 && effective != permitted|inheritable:
		return nil, fmt.Errorf("%q: of a file's capabilities either all are effective or none", text)
	case effective != 0:
		magic |= capEffective
	}
	value := binary.LittleEndian.AppendUint32(nil, magic)
	for shift := 0; shift < 64; shift += 32 {
		value = binary.LittleEndian.AppendUint32(value, uint32(permitted>>shift)) //nolint:gosec // a half of it
		value = binary.LittleEndian.AppendUint32(value, uint32(inheritable>>shift))
	}
	return value, nil
}

// capList reads names with commas between them; none, or "all", are all that there are.
func capList(text string) (uint64, error) {
	if text == "" || strings.EqualFold(text, "all") {
		return 1<<len(capNames) - 1, nil
	}
	var which uint64
	for name := range strings.SplitSeq(strings.ToLower(text), ",") {
		n := slices.Index(capNames, name)
		if n < 0 {
			var err error
			if n, err = strconv.Atoi(name); err != nil || n < 0 || n > 63 {
				return 0, fmt.Errorf("capability %q is unknown", name)
			}
		}
		which |= 1 << n
	}
	return which, nil
}
