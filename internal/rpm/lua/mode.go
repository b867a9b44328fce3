package lua

import (
	"strconv"
	"strings"

	"ingot/internal/tree"
)

// changeMode reads a mode in octal, as ls(1) prints it, or as a change such as u+x,go-w.
func changeMode(mode uint32, text string) (uint32, bool) {
	if n, err := strconv.ParseUint(text, 8, 12); err == nil {
		return uint32(n), true
	}
	if len(text) == 9 && !strings.ContainsAny(text, "+=,ugoa") {
		out := uint32(0)
		for i := range 9 {
			switch c := text[i]; {
			case c == "rwxrwxrwx"[i]:
				out |= 0o400 >> i
			case c == 's' && (i == 2 || i == 5):
				out |= 0o400>>i | map[int]uint32{2: 0o4000, 5: 0o2000}[i]
			case c != '-':
				return 0, false
			}
		}
		return out, true
	}
	for change := range strings.SplitSeq(text, ",") {
		at := strings.IndexAny(change, "+-=")
		if at < 0 {
			return 0, false
		}
		who := change[:at]
		if who == "" || strings.Contains(who, "a") {
			who = "ugo"
		}
		var bits, all uint32
		for _, w := range who {
			shift, ok := map[rune]int{'u': 6, 'g': 3, 'o': 0}[w]
			if !ok {
				return 0, false
			}
			all |= 7 << shift
			for _, p := range change[at+1:] {
				switch p {
				case 'r', 'w', 'x':
					bits |= map[rune]uint32{'r': 4, 'w': 2, 'x': 1}[p] << shift
				case 's':
					bits |= map[rune]uint32{'u': 0o4000, 'g': 0o2000}[w]
				case 't':
					bits |= 0o1000
				default:
					return 0, false
				}
			}
		}
		switch change[at] {
		case '+':
			mode |= bits
		case '-':
			mode &^= bits
		case '=':
			mode = mode&^all | bits
		}
	}
	return mode, true
}

// spellMode writes a mode as ls(1) does, without the type. luaposix has no letter for the sticky bit.
func spellMode(mode uint32) string { return tree.SpellMode(mode &^ 0o1000) }
