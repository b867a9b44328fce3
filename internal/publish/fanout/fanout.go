// Package fanout does something in many regions at once. What fails in one does not hold up, or undo, another.
package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ingot/internal/fault"
)

// Run calls do for every region, all at once, and waits for all of them. The error is nil when all succeed, has the kind
// fault.Partial when some do, and otherwise the kind of the first region's. doing is the beginning of its text.
func Run(ctx context.Context, doing string, regions []string, do func(ctx context.Context, region string) error) error {
	errs := make([]error, len(regions))
	var wg sync.WaitGroup
	for n, region := range regions {
		wg.Go(func() { errs[n] = do(ctx, region) })
	}
	wg.Wait()
	var failed []error
	for n, err := range errs {
		if err != nil {
			failed = append(failed, fmt.Errorf("in %s: %w", regions[n], err))
		}
	}
	return Summary(doing, failed, len(regions)-len(failed), len(regions))
}

// Summary turns failures, each of which names its region, into one error, as Run does. succeeded is how many of the regions
// succeeded: fewer than the rest where a failure is not counted.
func Summary(doing string, failed []error, succeeded, regions int) error {
	switch {
	case len(failed) == 0:
		return nil
	case succeeded > 0:
		return fault.New(fault.Partial, fmt.Errorf("%s: %d of %d regions failed:\n%w", doing, len(failed), regions, errors.Join(failed...)),
			"run the same command again: it does what is left")
	}
	return fault.New(fault.KindOf(failed[0]), fmt.Errorf("%s: %w", doing, errors.Join(failed...)), fault.HintOf(failed[0]))
}
