package alpm

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// maxValues bounds the lines of one field. The file list of a large package has about 100,000.
const maxValues = 1_000_000

// ParseDesc takes the text of a database's desc (or of the depends that older databases have beside it) into
// a package: fields of one %NAME% line, one value a line, and an empty line.
func (p *Package) ParseDesc(text []byte) error {
	return scanDesc(text, func(field string, values []string) error {
		if err := p.set(field, values); err != nil {
			return fmt.Errorf("field %s: %w", field, err)
		}
		return nil
	})
}

func scanDesc(text []byte, fn func(field string, values []string) error) error {
	if bytes.IndexByte(text, 0) >= 0 {
		return errors.New("it holds a zero byte")
	}
	rest := string(text)
	next := func() (line string) {
		line, rest, _ = strings.Cut(rest, "\n")
		return strings.TrimRight(line, " \t\r")
	}
	for rest != "" {
		head := next()
		if head == "" {
			continue
		}
		if len(head) < 3 || head[0] != '%' || head[len(head)-1] != '%' {
			return fmt.Errorf("%.40q stands where a %%FIELD%% should", head)
		}
		var values []string
		for rest != "" {
			line := next()
			if line == "" {
				break
			}
			if len(values) == maxValues {
				return fmt.Errorf("field %.40q has more than %d lines", head, maxValues)
			}
			values = append(values, line)
		}
		if err := fn(head[1:len(head)-1], values); err != nil {
			return err
		}
	}
	return nil
}
