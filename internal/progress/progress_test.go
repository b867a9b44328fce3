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
