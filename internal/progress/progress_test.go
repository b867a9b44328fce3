package progress

import (
	"errors"
	"sync"
	"testing"
)

func TestNilSwallowsEverything(t *testing.T) {
	var r *Reporter
	task := r.Begin("x", 1, Items)
	task.Add(1)
	task.Grow(1)
	task.Logf("x")
	task.Output("x")
	task.Begin("y", 0, Bytes).End(nil)
	task.Done("x")
	task.Relay()(Event{Kind: Begin, Task: 1})
	r.Logf("x")
	r.Attach(func(Event) {})()
}

func TestEvents(t *testing.T) {
	var got []Event
	r := New(func(e Event) { got = append(got, e) })
	var late int
	remove := r.Attach(func(Event) { late++ })
	outer := r.Begin("outer", 10, Items)
	remove()
	inner := outer.Begin("inner", 0, Bytes)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { inner.Add(2) })
	}
	all.Wait()
	inner.End(errors.New("broken"))
	inner.End(nil) // does not count
	outer.Done("%d of them", 3)
	first, last := got[0], got[len(got)-1]
	if first.Kind != Begin || first.Total != 10 || first.Parent != 0 || got[1].Parent != first.Task {
		t.Errorf("beginnings: %+v %+v", first, got[1])
	}
	if end := got[len(got)-2]; end.Kind != End || end.Err != "broken" || end.Done != 16 {
		t.Errorf("end of inner: %+v", end)
	}
	if last.Kind != End || last.Text != "3 of them" || last.Err != "" {
		t.Errorf("end of outer: %+v", last)
	}
	if late != 1 {
		t.Errorf("the removed sink saw %d events, want 1", late)
	}
}

// The numbers of another Reporter's tasks are also those of tasks here.
func TestRelay(t *testing.T) {
	var got []Event
	r := New(func(e Event) { got = append(got, e) })
	r.Begin("one", 0, Items)
	machine := r.Begin("machine", 0, Items)
	relay := machine.Relay()
	there := New(relay)
	outer := there.Begin("outer", 0, Items)
	inner := outer.Begin("inner", 5, Bytes)
	inner.Add(5)
	outer.End(nil)
	inner.Logf("late")
	there.Logf("hello")
	relay(Event{Kind: Begin, Task: 99, Parent: 98, Name: "orphan"})
	r.Begin("two", 0, Items)
	want := []Event{
		{Kind: Begin, Task: 1, Name: "one"}, {Kind: Begin, Task: 2, Name: "machine"},
		{Kind: Begin, Task: 3, Parent: 2, Name: "outer"}, {Kind: Begin, Task: 4, Parent: 3, Name: "inner"},
		{Kind: Advance, Task: 4, Parent: 3, Name: "inner"}, {Kind: End, Task: 3, Parent: 2, Name: "outer"},
		{Kind: Log, Task: 4, Parent: 3, Name: "inner", Text: "late"}, {Kind: Log, Task: 2, Parent: 2, Text: "hello"},
		{Kind: Begin, Task: 5, Parent: 2, Name: "orphan"}, {Kind: Begin, Task: 6, Name: "two"},
	}
	for i, e := range got {
		if i >= len(want) || e.Kind != want[i].Kind || e.Task != want[i].Task || e.Parent != want[i].Parent || e.Name != want[i].Name || e.Text != want[i].Text {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if len(got) != len(want) || got[4].Done != 5 || got[4].Total != 5 {
		t.Errorf("%d events: %+v", len(got), got)
	}
}
