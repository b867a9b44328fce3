package journal

import (
	"context"
	"testing"
	"time"

	"ingot/internal/factory/flow"
	"ingot/internal/progress"
)

// How far a step has come can be read while it runs, and not after.
func TestProgress(t *testing.T) {
	t.Parallel()
	j := open(t)
	seen := ""
	x := &tasks{spoil: func(ctx context.Context, c flow.Call) (any, error) {
		task := c.Progress.Begin("sending", 200, progress.Bytes)
		defer task.End(nil)
		task.Add(90)
		for limit := time.Now().Add(time.Minute); seen != "sending: 45 %"; time.Sleep(20 * time.Millisecond) {
			steps, err := j.Steps(ctx, 1)
			if err != nil || time.Now().After(limit) {
				t.Errorf("the progress is %q, %v", seen, err)
				break
			}
			seen = steps[0].Progress
		}
		return nil, nil
	}}
	r := do(t, j, x, Order{Flow: &flow.Pipeline{Name: "one", Steps: []flow.Step{step("resolve")}}})
	steps, err := j.Steps(t.Context(), r.ID)
	if err != nil || r.State != Done || steps[0].Progress != "" {
		t.Errorf("the run is %s, with progress %q, %v", r.State, steps[0].Progress, err)
	}
}
