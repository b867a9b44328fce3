package tree

import "fmt"

// types are the letters of ls(1) for the types of stat(2).
var types = map[uint32]byte{0o040000: 'd', 0o120000: 'l', 0o020000: 'c', 0o060000: 'b', 0o010000: 'p', 0o140000: 's', 0o100000: '-'}

// Listing is the entry as a line of ls -ln, with the whole path. A device has its numbers in the place of its size.
func (e Entry) Listing() string {
	kind, known := types[e.Mode&0o170000]
	if !known {
		kind = '?'
	}
	size := fmt.Sprint(e.Size)
	if kind == 'c' || kind == 'b' {
		size = fmt.Sprintf("%d, %d", e.Major, e.Minor)
	}
	line := fmt.Sprintf("%c%s %5d %5d %11s %s /%s", kind, SpellMode(e.Mode), e.UID, e.GID, size, e.MTime.UTC().Format("2006-01-02 15:04:05"), e.Path)
	if e.Target != "" {
		line += " -> " + e.Target
	}
	return line
}

// SpellMode writes permissions as ls(1) does, without the type.
func SpellMode(mode uint32) string {
	b := []byte("rwxrwxrwx")
	for i := range b {
		if mode&(0o400>>i) == 0 {
			b[i] = '-'
		}
	}
	for _, special := range []struct {
		bit        uint32
		at         int
		with, only byte // with the right to execute, and without it
	}{{0o4000, 2, 's', 'S'}, {0o2000, 5, 's', 'S'}, {0o1000, 8, 't', 'T'}} {
		if mode&special.bit != 0 {
			letter := special.with
			if b[special.at] == '-' {
				letter = special.only
			}
			b[special.at] = letter
		}
	}
	return string(b)
}
