package flow

import (
	"context"
	"encoding/json"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Call is one attempt at a step.
type Call struct {
	Run, Step, Item string
	// Token belongs to this run, step and item. It is written down before the first attempt, and the same for all.
	Token    string
	Attempt  int // from 1
	Progress *progress.Reporter
}

// Func does a step. document is a JSON object with the run's input ("input"), the output of each step that this one
// waits for, under its name (a list, for a step over a list; but the item's own, for one over the same list), and the
// item ("item"), for a step over a list. A result of MaxOutput bytes is the largest that there may be. A result beside
// an error of kind fault.Partial is what was done; it counts when no further attempt is left.
type Func func(ctx context.Context, c Call, document json.RawMessage) (json.RawMessage, error)

// MaxOutput bounds what a step returns, in bytes: Step Functions carries 256 KiB from state to state.
const MaxOutput = 60 << 10

// Typed makes a Func of a function that takes what it needs of the document, and returns its output.
func Typed[In, Out any](f func(context.Context, Call, In) (Out, error)) Func {
	return func(ctx context.Context, c Call, document json.RawMessage) (json.RawMessage, error) {
		var in In
		if err := json.Unmarshal(document, &in); err != nil {
			return nil, fault.Newf(fault.Input, "reading the input of step %s: %w", c.Step, err)
		}
		out, err := f(ctx, c, in)
		if err != nil && fault.KindOf(err) != fault.Partial {
			return nil, err
		}
		text, e := json.Marshal(out)
		if e != nil {
			return nil, fault.Newf(fault.Bug, "writing the output of step %s: %w", c.Step, e)
		}
		if len(text) > MaxOutput {
			return nil, fault.Newf(fault.Bug, "the output of step %s has %d bytes, of at most %d", c.Step, len(text), MaxOutput)
		}
		return text, err
	}
}
