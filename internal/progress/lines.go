package progress

import (
	"bytes"
	"strings"
	"sync"
)

// Limits on what is kept of a program's output.
const (
	lastLines = 20
	maxLine   = 4096
)

// Lines takes what a program prints, hands it to a task line by line, and remembers the last lines.
type Lines struct {
	task *Task

	mu      sync.Mutex // a program may write to both of its streams at once
	partial []byte
	last    []string
}

// NewLines returns Lines for a task, which may be nil.
func NewLines(t *Task) *Lines { return &Lines{task: t} }

func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for {
		line, rest, full := bytes.Cut(b, []byte{'\n'})
		if room := maxLine - len(l.partial); room > 0 {
			l.partial = append(l.partial, line[:min(room, len(line))]...)
		}
		if !full {
			return n, nil
		}
		l.line()
		b = rest
	}
}

// End reports a last line without a line feed.
func (l *Lines) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.line()
	}
}

func (l *Lines) line() {
	line := strings.TrimRight(strings.ToValidUTF8(string(l.partial), "�"), "\r")
	l.partial = l.partial[:0]
	l.task.Output(line)
	if len(l.last) == lastLines {
		l.last = append(l.last[:0], l.last[1:]...)
	}
	l.last = append(l.last, line)
}

// Said is what the program printed last, ready to be put behind an error.
func (l *Lines) Said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) == 0 {
		return "it printed nothing"
	}
	return "its last lines were:\n\t" + strings.Join(l.last, "\n\t")
}
