package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// checkName refuses what cannot be a long name (page 29 of the specification).
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("the path has an empty part, or one of dots")
	case !utf8.ValidString(name):
		return errors.New("it is not UTF-8")
	case len(utf16.Encode([]rune(name))) > 255:
		return errors.New("a part is longer than 255 characters")
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return errors.New("a part ends with a dot or a space")
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return r < ' ' || strings.ContainsRune(`"*:<>?\|`, r) }); i >= 0 {
		return fmt.Errorf("character %q is not allowed", name[i])
	}
	return nil
}

// labelField returns a volume label as it is on disk.
func labelField(label string) (f [11]byte) {
	if label == "" {
		label = "NO NAME"
	}
	copy(f[:], fmt.Sprintf("%-11.11s", strings.ToUpper(label)))
	return f
}

// basis returns the short name that comes from a long one (page 31 of the specification), and whether
// something was lost on the way, other than the case of letters.
func basis(name string) (short [11]byte, lossy bool) {
	copy(short[:], "           ")
	base, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		base, ext = name[:i], name[i+1:]
	}
	put := func(field []byte, s string) {
		n := 0
		for _, r := range s {
			switch {
			case r == ' ' || r == '.':
				lossy = true
				continue
			case 'a' <= r && r <= 'z':
				r -= 'a' - 'A'
			case r >= utf8.RuneSelf || strings.ContainsRune("+,;=[]", r):
				r, lossy = '_', true
			}
			if n == len(field) {
				lossy = true
				return
			}
			field[n] = byte(r)
			n++
		}
	}
	put(short[:8], base)
	put(short[8:], ext)
	return short, lossy
}

// shorten gives the children of a directory short names that differ: the basis of the long name where
// nothing is lost and nobody has it, or else with a tail, from ~1 up, in the order of the long names.
func shorten(children []*node) error {
	taken := make(map[[11]byte]bool, len(children))
	var rest []*node
	for _, c := range children {
		if short, lossy := basis(c.name); !lossy && !taken[short] {
			c.short, taken[short] = short, true
		} else {
			rest = append(rest, c)
		}
	}
	for _, c := range rest {
		short, _ := basis(c.name)
		for n := 1; ; n++ {
			tail := fmt.Sprintf("~%d", n)
			if len(tail) > 7 {
				return fmt.Errorf("naming %q on a FAT filesystem: too many names like it", c.name)
			}
			c.short = short
			stem := min(8-len(tail), len(strings.TrimRight(string(short[:8]), " ")))
			copy(c.short[stem:8], tail+"        ")
			if !taken[c.short] {
				taken[c.short] = true
				break
			}
		}
	}
	return nil
}

// longName returns the entries that hold the long name of a node, as they stand before its short one: the
// last piece first (page 28 of the specification). A name that is its own short name needs none.
func longName(n *node) [][]byte {
	if stringOf(n.short) == n.name {
		return nil
	}
	var check byte
	for _, c := range n.short {
		check = check>>1 | check<<7
		check += c
	}
	units := utf16.Encode([]rune(n.name))
	const each = 13
	count := (len(units) + each - 1) / each
	if len(units)%each != 0 {
		units = append(units, 0)
	}
	for len(units) < count*each {
		units = append(units, 0xffff)
	}
	entries := make([][]byte, count)
	for i := range count {
		e := make([]byte, entrySize)
		e[0], e[11], e[13] = byte(i+1), attrLongName, check
		if i == count-1 {
			e[0] |= 0x40
		}
		piece := units[i*each:]
		for j, at := range [each]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			binary.LittleEndian.PutUint16(e[at:], piece[j])
		}
		entries[count-1-i] = e
	}
	return entries
}

// stringOf returns a short name as it is printed.
func stringOf(short [11]byte) string {
	base, ext := strings.TrimRight(string(short[:8]), " "), strings.TrimRight(string(short[8:]), " ")
	if ext == "" {
		return base
	}
	return base + "." + ext
}
