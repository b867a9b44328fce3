package ext4

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"ingot/internal/tree"
)

// acl is an access control list in the form of the system calls.
func acl(entries ...[3]uint32) []byte {
	b := le.AppendUint32(nil, 2)
	for _, e := range entries {
		b = le.AppendUint16(le.AppendUint16(b, uint16(e[0])), uint16(e[1]))
		b = le.AppendUint32(b, e[2])
	}
	return b
}

const noID = 0xFFFFFFFF

// withXattrs adds files with extended attributes of many kinds.
func withXattrs(m memory) {
	access := acl([3]uint32{1, 6, noID}, [3]uint32{2, 7, 1000}, [3]uint32{4, 4, noID}, [3]uint32{8, 5, 70000}, [3]uint32{16, 7, noID}, [3]uint32{32, 4, noID})
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	m.dir("x")
	for name, x := range map[string]map[string][]byte{
		"cap":    {"security.capability": capability},
		"label":  {"security.selinux": []byte("system_u:object_r:bin_t:s0\x00")},
		"empty":  {"user.empty": {}},
		"acl":    {"system.posix_acl_access": access},
		"fits":   {"user.a": make([]byte, 64)},
		"spills": {"security.capability": capability, "user.large": random(5, 3000), "user.small": []byte("s")},
		"block":  {"user.z": random(6, 4000)},
		"odd":    {"user.x": []byte("123"), "user.xy": []byte("12345"), "trusted.t": []byte("t"), "user.ünï": []byte("cöde")},
	} {
		m.file("x/"+name, []byte(name)).Xattrs = x
	}
	many := map[string][]byte{}
	for i := range 90 {
		many[fmt.Sprintf("user.%d-%s", i, strings.Repeat("k", i%10))] = []byte(strings.Repeat("v", i%7))
	}
	m.file("x/many", nil).Xattrs = many
	m.dir("x/dir")
	m["x/dir"].Xattrs = map[string][]byte{"system.posix_acl_default": access, "system.posix_acl_access": access, "user.d": []byte("d")}
	m.add(tree.Entry{Path: "x/link", Mode: modeSymlink | 0o777, Target: strings.Repeat("l", 100),
		Xattrs: map[string][]byte{"security.selinux": random(7, 200)}})
}

func TestXattrs(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		withXattrs(m)
		// The kernel takes the permission bits of a file with an access control list from that.
		m["x/acl"].Mode, m["x/dir"].Mode = modeRegular|0o674, modeDir|0o674
		i := makeImage(t, m, options(p, 64*miB))
		i.check(t, m)
		i.kernel(t, m)
		if out := run(t, "debugfs", "-R", "ea_get -V /x/spills user.small", i.name); !strings.Contains(out, "s") {
			t.Errorf("debugfs: %s", out)
		}
	})
}

// shrunk is a tree whose files are all empty when they are read.
type shrunk struct{ memory }

func (shrunk) Open(string) (tree.File, error) {
	return memoryContent{io.NewSectionReader(strings.NewReader(""), 0, 0), io.NopCloser(nil)}, nil
}
