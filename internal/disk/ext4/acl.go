package ext4

import "errors"

// Access control lists have two forms: that of the system calls (linux/posix_acl_xattr.h: version 2, eight bytes an
// entry), and that on disk (fs/ext4/acl.h: version 1, with an id only where the entry is of a named user or group).
const (
	aclUser  = 0x02 // ACL_USER: a named user
	aclGroup = 0x08 // ACL_GROUP: a named group
)

var errACL = errors.New("not a POSIX access control list")

func aclToDisk(v []byte) ([]byte, error) {
	if len(v) < 4 || le.Uint32(v) != 2 || len(v)%8 != 4 {
		return nil, errACL
	}
	out := le.AppendUint32(nil, 1)
	for v = v[4:]; len(v) > 0; v = v[8:] {
		out = append(out, v[:4]...)
		if tag := le.Uint16(v); tag == aclUser || tag == aclGroup {
			out = append(out, v[4:8]...)
		}
	}
	return out, nil
}

func aclFromDisk(v []byte) ([]byte, error) {
	if len(v) < 4 || le.Uint32(v) != 1 {
		return nil, errACL
	}
	out := le.AppendUint32(nil, 2)
	for v = v[4:]; len(v) > 0; {
		if len(v) < 4 {
			return nil, errACL
		}
		tag, id := le.Uint16(v), ^uint32(0)
		out = append(out, v[:4]...)
		v = v[4:]
		if tag == aclUser || tag == aclGroup {
			if len(v) < 4 {
				return nil, errACL
			}
			id, v = le.Uint32(v), v[4:]
		}
		out = le.AppendUint32(out, id)
	}
	return out, nil
}
