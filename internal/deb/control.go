package deb

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits on control data. A Release file is a single paragraph, of 1.5 MB in the largest suites.
const (
	maxLine      = 1 << 20  // bytes
	maxParagraph = 16 << 20 // bytes
	maxFields    = 512
)

// blanks are what may surround a name or a value.
const blanks = " \t\r\n"

// Field is one field of a paragraph. Value starts at the first character that is not blank, ends at the last
// one, and keeps line breaks and continuation lines between as they stand, so that it can be written as it
// was read; a value that starts on the line after the name therefore starts with a line break.
type Field struct{ Name, Value string }

// Paragraph is a stanza of control data (deb822(5)), with the order and spelling of its fields kept.
type Paragraph struct{ Fields []Field }

// Lookup returns the value of a field, whose name is compared without regard to case, and whether it exists.
func (p *Paragraph) Lookup(name string) (string, bool) {
	for i := range p.Fields {
		if f := &p.Fields[i]; len(f.Name) == len(name) && strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Get returns the value of a field, or "".
func (p *Paragraph) Get(name string) string {
	v, _ := p.Lookup(name)
	return v
}

// Append appends the paragraph's text to b, one line feed after each field, as dpkg writes it into its
// status file; the empty line that parts paragraphs is the caller's.
func (p *Paragraph) Append(b []byte) []byte {
	for _, f := range p.Fields {
		b = append(b, f.Name...)
		b = append(b, ':')
		if f.Value != "" && f.Value[0] != '\n' {
			b = append(b, ' ')
		}
		b = append(b, f.Value...)
		b = append(b, '\n')
	}
	return b
}

// Scanner reads paragraphs one after the other from control data of any length.
type Scanner struct {
	r    *bufio.Reader
	want []string
	line int
	text []byte // of the wanted fields of the current paragraph
	ends []fieldEnds
	long []byte // a line longer than r's buffer
}

// fieldEnds are offsets into Scanner.text: the name starts where the previous value ends.
type fieldEnds struct{ name, value int }

// NewScanner returns a Scanner over r. If fields are named, all others are checked and dropped, which
// spares memory where an index is read for a few of its fields.
func NewScanner(r io.Reader, fields ...string) *Scanner {
	return &Scanner{r: bufio.NewReaderSize(r, 64<<10), want: fields}
}

// Next reads the next paragraph into p, whose slice of fields it uses again; the strings in it are the
// caller's to keep. It returns io.EOF when there is no further one. Any other error names the line.
func (s *Scanner) Next(p *Paragraph) error {
	s.text, s.ends = s.text[:0], s.ends[:0]
	p.Fields = p.Fields[:0]
	size, fields := 0, 0
	keep := false // the field that a continuation line belongs to is wanted
	for {
		line, err := s.readLine()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", s.line, err)
		}
		end := err != nil
		size += len(line)
		line = bytes.TrimSuffix(line, []byte{'\n'})
		switch {
		case size > maxParagraph:
			return fmt.Errorf("line %d: paragraph is larger than %d MiB", s.line, maxParagraph>>20)
		case len(bytes.TrimLeft(line, blanks)) == 0:
			if fields > 0 {
				return s.finish(p)
			}
			if end {
				return io.EOF
			}
			size = 0
		case line[0] == ' ' || line[0] == '\t':
			if fields == 0 {
				return fmt.Errorf("line %d: continues a field, but none was begun", s.line)
			}
			if keep {
				s.text = append(append(s.text, '\n'), line...)
				s.ends[len(s.ends)-1].value = len(s.text)
			}
		default:
			name, value, ok := bytes.Cut(line, []byte{':'})
			if fields++; fields > maxFields {
				return fmt.Errorf("line %d: more than %d fields in a paragraph", s.line, maxFields)
			}
			if !ok || !isFieldName(name) {
				return fmt.Errorf("line %d: %.60q is no field", s.line, line)
			}
			if keep = s.wanted(name); keep {
				s.text = append(s.text, name...)
				s.ends = append(s.ends, fieldEnds{name: len(s.text)})
				s.text = append(s.text, bytes.TrimLeft(value, blanks)...)
				s.ends[len(s.ends)-1].value = len(s.text)
			}
		}
		if end && fields > 0 {
			return s.finish(p)
		}
	}
}

// finish turns the collected bytes into p. One string backs all fields: one allocation a paragraph.
func (s *Scanner) finish(p *Paragraph) error {
	text, start := string(s.text), 0
	for _, e := range s.ends {
		f := Field{Name: text[start:e.name], Value: strings.TrimRight(text[e.name:e.value], blanks)}
		if _, ok := p.Lookup(f.Name); ok {
			return fmt.Errorf("line %d: field %s stands twice in the paragraph that ends here", s.line, f.Name)
		}
		p.Fields = append(p.Fields, f)
		start = e.value
	}
	return nil
}

func (s *Scanner) wanted(name []byte) bool {
	if len(s.want) == 0 {
		return true
	}
	for _, w := range s.want {
		if len(w) == len(name) && (w == string(name) || strings.EqualFold(w, string(name))) {
			return true
		}
	}
	return false
}

// readLine returns the next line with its line break; it is valid until the next call. At the end of the
// input, the error is io.EOF and the line may still hold text.
func (s *Scanner) readLine() ([]byte, error) {
	s.line++
	line, err := s.r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	s.long = s.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		if s.long = append(s.long, line...); len(s.long) > maxLine {
			return nil, fmt.Errorf("longer than %d MiB", maxLine>>20)
		}
		line, err = s.r.ReadSlice('\n')
	}
	s.long = append(s.long, line...)
	return s.long, err
}

// isFieldName reports whether name is made of US-ASCII characters other than controls, space and colon,
// and begins with neither a comment's hash nor a hyphen.
func isFieldName(name []byte) bool {
	if len(name) == 0 || name[0] == '#' || name[0] == '-' {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// ReadParagraph reads control data that is a single paragraph, such as a package's control file.
func ReadParagraph(r io.Reader) (*Paragraph, error) {
	s := NewScanner(r)
	var p, extra Paragraph
	if err := s.Next(&p); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("no control data: the text is empty")
		}
		return nil, err
	}
	switch err := s.Next(&extra); {
	case errors.Is(err, io.EOF):
		return &p, nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("line %d: a second paragraph, where one was expected", s.line)
}
