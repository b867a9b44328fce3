// Package progress reports what long work is doing, through a value that the caller owns.
//
// Work opens a task, advances it and ends it; what becomes of that (a bar, a line, a JSON event, a span of
// a trace) is the business of the sinks behind the Reporter. A nil *Reporter, and a nil *Task, swallow
// everything, so that library code never asks whether somebody is listening.
package progress

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Kind says what an Event tells.
type Kind string

const (
	Begin   Kind = "begin"   // a task starts; Total may be 0 when it is not known
	Advance Kind = "advance" // Done has grown (or Total became known)
	End     Kind = "end"     // the task is over; Err is set when it failed
	Log     Kind = "log"     // a line for a person, perhaps in the frame of a task
	Output  Kind = "output"  // a line that a program of the distribution printed (a scriptlet, a hook)
)

// Unit is what Done and Total count.
type Unit string

const (
	Bytes Unit = "bytes"
	Items Unit = "items"
)

// Event is one thing that happened.
type Event struct {
	Kind   Kind      `json:"event"`
	Time   time.Time `json:"time"`
	Task   int64     `json:"task,omitempty"`   // a number of its own for each task, from 1; 0 for none
	Parent int64     `json:"parent,omitempty"` // the task this one is part of; 0 for none
	Name   string    `json:"name,omitempty"`   // of the task
	Text   string    `json:"text,omitempty"`   // of a Log or Output event, or a note at the end of a task
	Done   int64     `json:"done,omitempty"`
	Total  int64     `json:"total,omitempty"`
	Unit   Unit      `json:"unit,omitempty"`
	Err    string    `json:"error,omitempty"`
}

// Sink takes events. It is called by many goroutines, one at a time, and must not block for long.
type Sink func(Event)

// Reporter numbers tasks and hands their events to its sinks.
type Reporter struct {
	mu    sync.Mutex
	sinks []*Sink
	last  atomic.Int64
}

// New returns a Reporter that feeds every sink in order.
func New(sinks ...Sink) *Reporter {
	r := &Reporter{}
	for _, s := range sinks {
		r.Attach(s)
	}
	return r
}

// Attach adds a sink until the returned function is called.
func (r *Reporter) Attach(s Sink) (remove func()) {
	if r == nil {
		return func() {}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sinks = append(r.sinks, &s)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sinks = slices.DeleteFunc(r.sinks, func(p *Sink) bool { return p == &s })
	}
}

// Count says how many there are of something, as people do: "1 AMI", "2 AMIs".
func Count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (r *Reporter) emit(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Time = time.Now()
	for _, s := range r.sinks {
		(*s)(e)
	}
}

// Begin opens a task. A total of 0 means that it is not known (yet).
func (r *Reporter) Begin(name string, total int64, unit Unit) *Task {
	if r == nil {
		return nil
	}
	return r.begin(0, name, total, unit)
}

func (r *Reporter) begin(parent int64, name string, total int64, unit Unit) *Task {
	t := &Task{r: r, id: r.last.Add(1), parent: parent, name: name, unit: unit}
	t.total.Store(total)
	r.emit(t.event(Begin))
	return t
}

// Logf reports a line for a person, outside any task.
func (r *Reporter) Logf(format string, args ...any) {
	if r != nil {
		r.emit(Event{Kind: Log, Text: fmt.Sprintf(format, args...)})
	}
}

// Relay returns a sink for the events of a Reporter elsewhere: they become parts of the task, under numbers of this Reporter.
func (t *Task) Relay() Sink {
	if t == nil {
		return func(Event) {}
	}
	ours := map[int64]int64{0: t.id}
	return func(e Event) {
		if e.Kind == Begin {
			ours[e.Task] = t.r.last.Add(1)
		}
		parent, known := ours[e.Parent]
		if !known {
			parent = t.id
		}
		e.Task, e.Parent = ours[e.Task], parent
		t.r.emit(e)
	}
}

// Task is a piece of work that somebody may be watching. Its methods may be called by many goroutines.
type Task struct {
	r           *Reporter
	id, parent  int64
	name        string
	unit        Unit
	done, total atomic.Int64
	ended       atomic.Bool
}

func (t *Task) event(k Kind) Event {
	return Event{Kind: k, Task: t.id, Parent: t.parent, Name: t.name, Unit: t.unit,
		Done: t.done.Load(), Total: t.total.Load()}
}

// Begin opens a task that is part of t.
func (t *Task) Begin(name string, total int64, unit Unit) *Task {
	if t == nil {
		return nil
	}
	return t.r.begin(t.id, name, total, unit)
}

// Add says that n more bytes or items are done.
func (t *Task) Add(n int64) {
	if t != nil {
		t.done.Add(n)
		t.r.emit(t.event(Advance))
	}
}

// Write implements io.Writer: bytes that are written to a task are done, and nothing else becomes of them.
func (t *Task) Write(p []byte) (int, error) {
	t.Add(int64(len(p)))
	return len(p), nil
}

// Grow says that there are n more bytes or items to do than was known.
func (t *Task) Grow(n int64) {
	if t != nil {
		t.total.Add(n)
		t.r.emit(t.event(Advance))
	}
}

// Logf reports a line for a person in the frame of the task.
func (t *Task) Logf(format string, args ...any) { t.line(Log, fmt.Sprintf(format, args...)) }

// Output reports a line that a program of the distribution printed.
func (t *Task) Output(line string) { t.line(Output, line) }

func (t *Task) line(k Kind, text string) {
	if t != nil {
		e := t.event(k)
		e.Text = text
		t.r.emit(e)
	}
}

// End closes the task; err is why it failed, or nil. Only the first End counts, so it can be deferred.
func (t *Task) End(err error) { t.end("", err) }

// Done closes a task that succeeded, with a note for the person watching ("153 packages, all cached").
func (t *Task) Done(format string, args ...any) { t.end(fmt.Sprintf(format, args...), nil) }

func (t *Task) end(note string, err error) {
	if t == nil || t.ended.Swap(true) {
		return
	}
	e := t.event(End)
	e.Text = note
	if err != nil {
		e.Err = err.Error()
	}
	t.r.emit(e)
}
