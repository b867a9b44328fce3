// Package shell writes command lines for the shells of other machines.
package shell

import "strings"

// Quote returns a word of a command line as a POSIX shell reads it back, whatever is in it (XCU, 2.2.2: single quotes).
func Quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
