package publish

import (
	"context"
	"sync"
	"time"

	"ingot/internal/publish/retry"
)

const (
	putRate   = 950 // blocks a second and region at most; the quota's default is 1,000
	leastRate = 1
	burst     = 32
	// look is how often who waits looks whether the rate has changed. The limiter of golang.org/x/time gives out times that
	// stay when the rate rises again.
	look = 50 * time.Millisecond
)

// pace is a rate that follows what the other side takes: it falls when told to slow down, and rises again.
type pace struct {
	mu     sync.Mutex
	rate   float64 // a second
	tokens float64
	filled time.Time
}

func newPace() *pace { return &pace{rate: putRate, tokens: burst, filled: time.Now()} }

// wait waits for the right to make an attempt.
func (p *pace) wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		now := time.Now()
		p.tokens = min(p.tokens+now.Sub(p.filled).Seconds()*p.rate, max(1, min(burst, p.rate/10)))
		p.filled = now
		left := time.Duration((1 - p.tokens) / p.rate * float64(time.Second))
		if left <= 0 {
			p.tokens--
		}
		p.mu.Unlock()
		if left <= 0 {
			return ctx.Err()
		}
		if err := retry.Sleep(ctx, min(left, look)); err != nil {
			return err
		}
	}
}

// rise is told of each attempt that succeeded: the rate grows by 5% a second, or by 2.
func (p *pace) rise() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = min(p.rate+max(0.05, 2/p.rate), putRate)
}

// fall is told that the rate is too high.
func (p *pace) fall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = max(p.rate*0.7, leastRate)
}
