package journal

import (
	"context"
	"sync"
)

// room is what steps that need the machine are done in: one run at a time has it, with all of its steps.
type room struct {
	mu   sync.Mutex
	run  int64
	n    int           // steps in it
	free chan struct{} // closed when the run has left
}

// enter waits until the run may use the machine.
func (r *room) enter(ctx context.Context, run int64) error {
	for {
		r.mu.Lock()
		if r.n == 0 || r.run == run {
			if r.n == 0 {
				r.free = make(chan struct{})
			}
			r.run = run
			r.n++
			r.mu.Unlock()
			return nil
		}
		free := r.free
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-free:
		}
	}
}

func (r *room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 {
		close(r.free)
	}
}
