package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"ingot/internal/progress"
)

// trace writes the tasks as a Chrome trace (the JSON array of the Trace Event Format), which Perfetto and
// chrome://tracing show. Tasks that run at the same time get a lane each. The returned function ends the
// array.
func trace(w io.Writer) (progress.Sink, func() error) {
	type span struct {
		begun time.Time
		lane  int
	}
	var start time.Time
	tasks := map[int64]span{}
	var lanes []bool // which lanes are taken
	n := 0
	sink := func(e progress.Event) {
		switch e.Kind {
		case progress.Begin:
			if start.IsZero() {
				start = e.Time
			}
			lane := 0
			for lane < len(lanes) && lanes[lane] {
				lane++
			}
			if lane == len(lanes) {
				lanes = append(lanes, false)
			}
			lanes[lane] = true
			tasks[e.Task] = span{e.Time, lane}
		case progress.End:
			s, ok := tasks[e.Task]
			if !ok {
				return
			}
			delete(tasks, e.Task)
			lanes[s.lane] = false
			args := map[string]any{"task": e.Task, "parent": e.Parent}
			for k, v := range map[string]string{"note": e.Text, "error": e.Err} {
				if v != "" {
					args[k] = v
				}
			}
			if e.Done > 0 {
				args[string(e.Unit)] = e.Done
			}
			text, err := json.Marshal(map[string]any{"name": e.Name, "ph": "X", "pid": 1, "tid": s.lane + 1,
				"ts": s.begun.Sub(start).Microseconds(), "dur": e.Time.Sub(s.begun).Microseconds(), "args": args})
			if err != nil {
				return // names and notes are text; JSON can write them all
			}
			sep := ",\n"
			if n++; n == 1 {
				sep = "[\n"
			}
			fmt.Fprintf(w, "%s%s", sep, text)
		}
	}
	return sink, func() error {
		end := "\n]\n"
		if n == 0 {
			end = "[]\n"
		}
		_, err := io.WriteString(w, end)
		return err
	}
}
