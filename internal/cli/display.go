package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"ingot/internal/progress"
)

// hidden is a depth that is shown only to those who ask for every task.
const hidden = 3

// lines renders progress for pipes and logs: one line when a task of the top two levels ends, and every
// line meant for a person. verbose adds the beginnings, the deeper tasks and what the distribution's
// programs print.
func lines(w io.Writer, verbose bool) progress.Sink {
	type open struct {
		depth int
		begun time.Time
	}
	tasks := map[int64]open{}
	return func(e progress.Event) {
		t := tasks[e.Task]
		switch e.Kind {
		case progress.Begin:
			t = open{begun: e.Time}
			if parent, ok := tasks[e.Parent]; ok {
				t.depth = parent.depth + 1
			} else if e.Parent != 0 {
				t.depth = hidden // what it was part of is over: nobody waits for it
			}
			tasks[e.Task] = t
			if verbose || t.depth == 0 {
				fmt.Fprintf(w, "%s%s …\n", indent(t.depth), e.Name)
			}
		case progress.End:
			delete(tasks, e.Task)
			if verbose || t.depth < 2 || e.Err != "" {
				fmt.Fprintln(w, ending(e, t.depth, e.Time.Sub(t.begun)))
			}
		case progress.Log:
			fmt.Fprintf(w, "%s%s\n", indent(t.depth+1), e.Text)
		case progress.Output:
			if verbose {
				fmt.Fprintf(w, "%s│ %s\n", indent(t.depth+1), e.Text)
			}
		}
	}
}

func indent(depth int) string { return strings.Repeat("  ", depth) }

// ending is the line that closes a task: its name, what it came to, and how long it took.
func ending(e progress.Event, depth int, took time.Duration) string {
	var b strings.Builder
	b.WriteString(indent(depth))
	mark := "✓"
	if e.Err != "" {
		mark = "✗"
	}
	fmt.Fprintf(&b, "%s %s", mark, e.Name)
	switch {
	case e.Text != "":
		b.WriteString(": " + e.Text)
	case e.Unit == progress.Bytes && e.Done > 0:
		b.WriteString(": " + bytesText(e.Done))
	case e.Unit == progress.Items && e.Done > 0:
		fmt.Fprintf(&b, ": %d", e.Done)
	}
	fmt.Fprintf(&b, " (%s)", short(took))
	return b.String()
}

func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func bytesText(n int64) string {
	const unit = 1024
	switch {
	case n < unit:
		return fmt.Sprintf("%d B", n)
	case n < unit*unit:
		return fmt.Sprintf("%.1f KiB", float64(n)/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%.1f MiB", float64(n)/unit/unit)
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/unit/unit/unit)
}

// terminal renders progress for a terminal: a bar or a spinner for each running task, a line for each that is over.
type terminal struct {
	w       io.Writer
	verbose bool

	mu    sync.Mutex
	bars  *mpb.Progress // nil while nothing is shown; one that was shut down cannot be used again
	tasks map[int64]*shown
}

// shown is a task that is running.
type shown struct {
	begin progress.Event
	depth int
	bar   *mpb.Bar // nil for one that is too deep, and while nothing is shown
}

// bars returns a sink that renders progress for a terminal. hide has everything written, and takes the bars away so that
// something else can be printed; with the next event, those that are still running come back.
func bars(w io.Writer, verbose bool) (sink progress.Sink, hide func()) {
	t := &terminal{w: w, verbose: verbose, tasks: map[int64]*shown{}}
	return t.take, t.hide
}

func (t *terminal) hide() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bars == nil {
		return
	}
	for _, s := range t.tasks {
		if s.bar != nil {
			s.bar.Abort(true)
			s.bar = nil
		}
	}
	t.bars.Shutdown()
	t.bars = nil
}

func (t *terminal) take(e progress.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bars == nil {
		t.bars = mpb.New(mpb.WithOutput(t.w), mpb.WithWidth(40), mpb.WithRefreshRate(150*time.Millisecond))
	}
	if e.Kind == progress.Begin {
		s := &shown{begin: e}
		if parent := t.tasks[e.Parent]; parent != nil {
			s.depth = parent.depth + 1
		} else if e.Parent != 0 {
			s.depth = hidden
		}
		t.tasks[e.Task] = s
	}
	s := t.tasks[e.Task]
	switch e.Kind {
	case progress.Begin, progress.Advance:
		t.advance(s, e)
	case progress.End:
		if s == nil {
			return
		}
		delete(t.tasks, e.Task)
		if s.bar != nil {
			s.bar.Abort(true)
		}
		if t.verbose || s.depth < 2 || e.Err != "" {
			fmt.Fprintln(t.bars, ending(e, s.depth, e.Time.Sub(s.begin.Time)))
		}
	case progress.Log:
		fmt.Fprintln(t.bars, "  "+e.Text)
	case progress.Output:
		if t.verbose {
			fmt.Fprintln(t.bars, "  │ "+e.Text)
		}
	}
}

// advance shows how far a task has come.
func (t *terminal) advance(s *shown, e progress.Event) {
	if s == nil || s.depth >= hidden {
		return
	}
	if s.bar == nil {
		s.bar = newBar(t.bars, e, s)
	}
	if e.Total > 0 {
		s.bar.SetTotal(e.Total, false)
	}
	s.bar.SetCurrent(e.Done)
}

func newBar(p *mpb.Progress, e progress.Event, s *shown) *mpb.Bar {
	name := decor.Name(indent(s.depth)+e.Name, decor.WC{C: decor.DindentRight | decor.DSyncWidth})
	took := decor.NewElapsed(decor.ET_STYLE_GO, s.begin.Time, decor.WC{W: 8})
	if e.Unit == progress.Bytes {
		return p.AddBar(e.Total, mpb.PrependDecorators(name),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f", decor.WC{W: 24}), took))
	}
	if e.Total > 0 {
		return p.AddBar(e.Total, mpb.PrependDecorators(name),
			mpb.AppendDecorators(decor.CountersNoUnit("%d / %d", decor.WC{W: 24}), took))
	}
	return p.New(0, mpb.SpinnerStyle(), mpb.PrependDecorators(name), mpb.AppendDecorators(took))
}

// events renders progress as one JSON object a line; Advance events of a task are thinned to four a second.
func events(w io.Writer) progress.Sink {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	last := map[int64]time.Time{}
	return func(e progress.Event) {
		switch e.Kind {
		case progress.Advance:
			if e.Time.Sub(last[e.Task]) < 250*time.Millisecond {
				return
			}
			last[e.Task] = e.Time
		case progress.End:
			delete(last, e.Task)
		}
		_ = enc.Encode(e) // a reader that went away must not stop the work
	}
}
