package install

import (
	"bytes"
	"fmt"
	"strings"

	"ingot/internal/alpm"
)

// hook is a hook as alpm-hooks(5) describes it. One without triggers does nothing, and serves to mask another one.
type hook struct {
	name         string // of its file
	triggers     []trigger
	after        bool // it runs after the transaction; otherwise before
	exec         []string
	depends      []alpm.Depend
	needsTargets bool
}

// trigger says what makes a hook run.
type trigger struct {
	install bool // Operation = Install; in an empty tree there is no other
	known   bool // it has an operation
	kind    triggerKind
	targets []string
}

type triggerKind int

const (
	kindMissing triggerKind = iota
	kindPackage
	kindPath
)

// maxHookLine bounds a line; pacman itself cuts longer ones in two.
const maxHookLine = 4095

// parseHook reads a hook. What libalpm refuses is refused; the error says in which line.
func parseHook(name string, text []byte) (*hook, error) {
	h := &hook{name: name}
	p := hookParser{hook: h}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("it holds a zero byte")
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if err := p.line(trim(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return h, p.check()
}

// trim takes away what isspace(3) calls space.
func trim(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

type hookParser struct {
	*hook
	section string
	when    bool // it is said
}

func (p *hookParser) line(line string) error {
	switch {
	case len(line) > maxHookLine:
		return fmt.Errorf("it is longer than %d bytes", maxHookLine)
	case line == "" || line[0] == '#':
		return nil
	case len(line) > 1 && line[0] == '[' && line[len(line)-1] == ']':
		p.section = line[1 : len(line)-1]
		switch p.section {
		case "Trigger":
			p.triggers = append(p.triggers, trigger{})
		case "Action":
		default:
			return fmt.Errorf("there is no section %q", p.section)
		}
		return nil
	}
	key, value, valued := strings.Cut(line, "=")
	key, value = trim(key), trim(value)
	set := p.setAction
	switch {
	case p.section == "":
		return fmt.Errorf("option %q stands before any section", key)
	case p.section == "Trigger":
		set = p.setTrigger
	case key == "AbortOnFail": // it is for hooks before a transaction
		return nil
	case key == "NeedsTargets":
		p.needsTargets = true
		return nil
	}
	if err := set(key, value); err != nil {
		return err
	}
	if !valued || value == "" {
		return fmt.Errorf("option %s has no value", key)
	}
	return nil
}

func (p *hookParser) setTrigger(key, value string) error {
	t := &p.triggers[len(p.triggers)-1]
	switch key + "=" + value {
	case "Operation=Install":
		t.install, t.known = true, true
		return nil
	case "Operation=Upgrade", "Operation=Remove":
		t.known = true
		return nil
	case "Type=Package":
		t.kind = kindPackage
		return nil
	case "Type=Path", "Type=File": // the latter is its old name
		t.kind = kindPath
		return nil
	}
	switch key {
	case "Target":
		t.targets = append(t.targets, value)
		return nil
	case "Operation", "Type":
		return fmt.Errorf("%s cannot be %q", key, value)
	}
	return fmt.Errorf("there is no option %q of a trigger", key)
}

func (p *hookParser) setAction(key, value string) (err error) {
	switch key {
	case "When":
		p.when, p.after = true, value == "PostTransaction"
		if !p.after && value != "PreTransaction" {
			return fmt.Errorf("%s cannot be %q", key, value)
		}
	case "Description": // for people
	case "Depends":
		d, err := alpm.ParseDepend(value)
		if err != nil {
			return err
		}
		p.depends = append(p.depends, d)
	case "Exec":
		p.exec, err = splitWords(value)
	default:
		return fmt.Errorf("there is no option %q of an action", key)
	}
	return err
}

// check says what a hook with triggers lacks.
func (p *hookParser) check() error {
	for i, t := range p.triggers {
		lack := ""
		switch {
		case t.targets == nil:
			lack = "Target"
		case t.kind == kindMissing:
			lack = "Type"
		case !t.known:
			lack = "Operation"
		}
		if lack != "" {
			return fmt.Errorf("trigger %d has no %s", i+1, lack)
		}
	}
	switch {
	case len(p.triggers) == 0:
		return nil
	case len(p.exec) == 0:
		return fmt.Errorf("it has no Exec")
	case !p.when:
		return fmt.Errorf("it has no When")
	}
	return nil
}

// splitWords splits a command at blanks, as libalpm does: quotes of both kinds hold words together, and a backslash
// before a quote makes it a character; within quotes, only before one of their kind.
func splitWords(text string) ([]string, error) {
	var words []string
	for rest := trimLeft(text); rest != ""; rest = trimLeft(rest) {
		var word strings.Builder
		for rest != "" && !isSpace(rest[0]) {
			c := rest[0]
			rest = rest[1:]
			switch {
			case c == '\'' || c == '"':
				var ok bool
				if rest, ok = quoted(&word, rest, c); !ok {
					return nil, fmt.Errorf("a quote is not closed in %q", text)
				}
				continue
			case c == '\\' && rest != "" && (rest[0] == '\'' || rest[0] == '"'):
				c, rest = rest[0], rest[1:]
			}
			word.WriteByte(c)
		}
		words = append(words, word.String())
	}
	return words, nil
}

// quoted takes text up to the closing quote, and returns what stands behind it.
func quoted(word *strings.Builder, text string, quote byte) (rest string, closed bool) {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == quote:
			return text[i+1:], true
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == quote:
			i++
		}
		word.WriteByte(text[i])
	}
	return "", false
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func trimLeft(s string) string { return strings.TrimLeft(s, " \t\n\v\f\r") }
