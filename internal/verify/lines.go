package verify

import (
	"strings"
	"unicode/utf8"
)

// maxLine bounds a line of the console; what is longer is cut into several.
const maxLine = 4096

// splitter makes lines of what a terminal was sent (ECMA-48): escape sequences vanish, and those that move
// the cursor to another place end the line, as boot loaders and systemd draw rather than print.
type splitter struct {
	emit  func(line string)
	line  []byte
	state func(*splitter, byte) // nil: plain text
	n     int                   // bytes of the escape sequence so far
}

// maxEscape bounds an escape sequence; a longer one is taken for noise that happened to start with ESC.
const maxEscape = 256

func (s *splitter) Write(p []byte) (int, error) {
	for _, b := range p {
		if s.state != nil {
			if s.n++; s.n <= maxEscape {
				s.state(s, b)
				continue
			}
			s.state = nil
		}
		s.text(b)
	}
	return len(p), nil
}

func (s *splitter) text(b byte) {
	switch {
	case b == 0x1b:
		s.state, s.n = (*splitter).escape, 0
	case b == '\n' || b == '\r' || b == '\f' || b == '\v':
		s.flush()
	case b == '\b':
		s.line = s.line[:max(0, len(s.line)-1)]
	case b == '\t':
		s.line = append(s.line, ' ')
	case b >= ' ' && b != 0x7f:
		s.line = append(s.line, b)
	}
	if len(s.line) >= maxLine {
		s.flush()
	}
}

// escape takes the byte after ESC.
func (s *splitter) escape(b byte) {
	switch {
	case b == '[':
		s.state = (*splitter).control
	case b == ']' || b == 'P' || b == '^' || b == '_' || b == 'X': // OSC, DCS, PM, APC, SOS
		s.state = (*splitter).str
	case b >= 0x20 && b <= 0x2f: // an intermediate byte: the sequence goes on
	case b == 'c' || b == 'E' || b == 'D' || b == 'M': // reset, next line, index, reverse index
		s.state = nil
		s.flush()
	default:
		s.state = nil
	}
}

// control takes the bytes of a CSI sequence up to its final one.
func (s *splitter) control(b byte) {
	if b < 0x40 || b > 0x7e {
		return
	}
	s.state = nil
	if strings.IndexByte("ABEFHJfd", b) >= 0 {
		s.flush()
	}
}

// str takes the bytes of a control string, which BEL or ESC \ ends.
func (s *splitter) str(b byte) {
	switch b {
	case 0x07:
		s.state = nil
	case 0x1b:
		s.state = (*splitter).escape // its backslash ends the string and means nothing itself
	}
}

// flush ends a line; empty ones are not passed on.
func (s *splitter) flush() {
	line := strings.TrimRight(string(s.line), " ")
	s.line = s.line[:0]
	if line == "" {
		return
	}
	if !utf8.ValidString(line) {
		line = strings.ToValidUTF8(line, "\ufffd")
	}
	s.emit(line)
}

// partial returns the line that has not ended yet, such as a prompt.
func (s *splitter) partial() string { return strings.ToValidUTF8(string(s.line), "\ufffd") }
