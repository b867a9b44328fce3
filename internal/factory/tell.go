package factory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Message is what people are told of a run.
type Message struct {
	Event    string   `json:"event"` // released, failed, partial, cancelled or waiting
	Pipeline string   `json:"pipeline"`
	Run      string   `json:"run"`
	Title    string   `json:"title"` // one line
	Releases []string `json:"releases,omitempty"`
	Images   []Shared `json:"images,omitempty"`
	Changes  []string `json:"changes,omitempty"` // of packages
	Error    string   `json:"error,omitempty"`
	Hint     string   `json:"hint,omitempty"`
	Console  []string `json:"console,omitempty"` // its last lines, of an image that failed its boot test
	Link     string   `json:"link,omitempty"`
}

// Text is the message as text, for people.
func (m *Message) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s", m.Title)
	if m.Link != "" {
		line("%s", m.Link)
	}
	if m.Error != "" {
		line("\n%s", m.Error)
	}
	if m.Hint != "" {
		line("hint: %s", m.Hint)
	}
	for _, x := range m.Images {
		for _, release := range slices.Sorted(maps.Keys(x.Images)) {
			line("%s %s (%s)", x.Region, x.Images[release], release)
		}
	}
	for _, part := range []struct {
		title string
		lines []string
	}{{"The packages that changed:", m.Changes}, {"The console's last lines:", m.Console}} {
		if len(part.lines) > 0 {
			line("\n%s\n%s", part.title, strings.Join(part.lines, "\n"))
		}
	}
	return b.String()
}

// Teller tells somebody.
type Teller interface {
	// Name tells it apart from the others. It holds no secrets.
	Name() string
	// Tell sends a message. token is the same for the same message.
	Tell(ctx context.Context, m *Message, token string) error
}

type recorded struct {
	Input   Input    `json:"input"`
	Resolve Resolved `json:"resolve"`
	Share   []Shared `json:"share"`
	Record  Recorded `json:"record"`
	Item    string   `json:"item"` // name of a teller
}

func (f *Factory) announce(ctx context.Context, c flow.Call, in recorded) (Announced, error) {
	m := &Message{Event: "released", Pipeline: in.Input.Name, Run: c.Run, Releases: in.Record.Releases, Images: in.Share, Changes: in.Resolve.Changes,
		Title: fmt.Sprintf("%s: released %s in %s", in.Input.Name, strings.Join(in.Record.Releases, " and "), progress.Count(len(in.Share), "region"))}
	if f.Site != "" && len(in.Record.Releases) > 0 {
		m.Link = f.Site + "/releases/" + in.Record.Releases[0]
	}
	i := slices.IndexFunc(f.Tellers, func(t Teller) bool { return t.Name() == in.Item })
	if i < 0 {
		return Announced{}, fault.Newf(fault.Input, "nobody is told by %s any more", in.Item)
	}
	return Announced{}, f.Tellers[i].Tell(ctx, m, c.Token)
}

// TellEnd tells of a run that ended otherwise than done or unchanged; announce tells of those that are done.
func (f *Factory) TellEnd(ctx context.Context, r journal.Run) error {
	if r.State == journal.Done || r.State == journal.Unchanged {
		return nil
	}
	m := EndMessage(r.Pipeline, strconv.FormatInt(r.ID, 10), r.State)
	m.Error, m.Hint = r.Error, r.Hint
	if f.Site != "" {
		m.Link = f.Site + "/runs/" + m.Run
	}
	var err error
	if m.Console, err = f.console(ctx, r.ID); err != nil {
		return err
	}
	return f.Tell(ctx, m, fmt.Sprintf("end of run %d at %d", r.ID, r.Ended.Unix()))
}

// EndMessage begins the message about a run that ended otherwise than done or unchanged.
func EndMessage(pipeline, run string, state journal.State) *Message {
	how := map[journal.State]string{journal.Failed: "failed", journal.Partial: "is done in part", journal.Cancelled: "was cancelled"}[state]
	return &Message{Event: string(state), Pipeline: pipeline, Run: run, Title: fmt.Sprintf("%s: run %s %s", pipeline, run, cmp.Or(how, string(state)))}
}

// Tell tells everybody. token is the same for the same message.
func (f *Factory) Tell(ctx context.Context, m *Message, token string) error {
	var errs []error
	policy := flow.Policy{Attempts: 3, First: 2 * time.Second, Most: time.Minute}
	for _, t := range f.Tellers {
		errs = append(errs, policy.Try(ctx, func(ctx context.Context) error { return t.Tell(ctx, m, token) }))
	}
	return errors.Join(errs...)
}

// console returns the last lines of the console in a run's log.
func (f *Factory) console(ctx context.Context, run int64) (last []string, err error) {
	const page = 1000
	for after := int64(0); ; {
		lines, err := f.Journal.Lines(ctx, run, "boot", after, page)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			if text, ok := strings.CutPrefix(l.Text, ConsoleMark); ok {
				last = append(last, text)
			}
			after = l.ID
		}
		last = last[max(0, len(last)-consoleLines):]
		if len(lines) < page {
			return last, nil
		}
	}
}
