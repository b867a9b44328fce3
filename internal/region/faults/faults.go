// Package faults decides which calls to the local region go wrong, and how: by rules that match a region, a service, an
// action and a count, and that a test or a user sets.
package faults

import (
	"fmt"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Call is a call of an API: who is asked for what.
type Call struct{ Region, Service, Action string }

// How a region is down.
const (
	Reset       = "reset"       // the connection is closed without a reply
	Unavailable = "unavailable" // every reply is 503
)

// Rule says what goes wrong with the calls that it matches. All rules that match a call act on it.
type Rule struct {
	// What is matched: patterns such as path.Match has. An empty one matches everything. Services are named as in the scope of a
	// signature (ec2, ebs, s3, servicequotas, ssm, sts).
	Region  string `yaml:"region,omitempty"`
	Service string `yaml:"service,omitempty"`
	Action  string `yaml:"action,omitempty"`
	// From is the first of the matching calls that the rule acts on, counted from 1, and Calls is on how many it acts; 0: from
	// the first, and on all.
	From  int `yaml:"from,omitempty"`
	Calls int `yaml:"calls,omitempty"`

	Throttle  *Rate         `yaml:"throttle,omitempty"`   // refuse what comes faster
	Lag       time.Duration `yaml:"lag,omitempty"`        // for so long, what the call makes or changes is not seen by others
	Pending   time.Duration `yaml:"pending,omitempty"`    // for so long, the snapshot or image that the call makes or completes is pending
	Fail      bool          `yaml:"fail,omitempty"`       // and it ends in failure
	Slow      time.Duration `yaml:"slow,omitempty"`       // wait for so long before anything is done
	LostReply bool          `yaml:"lost_reply,omitempty"` // do it, and close the connection instead of replying
	Down      string        `yaml:"down,omitempty"`       // Reset or Unavailable
	Denied    bool          `yaml:"denied,omitempty"`     // refuse it as an account without the permission is refused
	Error     *Error        `yaml:"error,omitempty"`      // refuse it with an error of one's choice
}

// Rate is how many calls pass.
type Rate struct {
	PerSecond float64 `yaml:"per_second"`
	Burst     int     `yaml:"burst,omitempty"` // 0: one
}

// Error is a refusal.
type Error struct {
	Status  int    `yaml:"status,omitempty"` // 0: 400
	Code    string `yaml:"code"`
	Message string `yaml:"message,omitempty"`
}

// Effect is what happens to a call.
type Effect struct {
	Throttled, LostReply, Denied, Fail bool
	Lag, Pending, Slow                 time.Duration
	Down                               string
	Error                              *Error
}

// Check validates a rule.
func (r Rule) Check() error {
	for _, pattern := range []string{r.Region, r.Service, r.Action} {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("the pattern %q: %w", pattern, err)
		}
	}
	switch {
	case r.From < 0 || r.Calls < 0:
		return fmt.Errorf("from and calls must not be negative")
	case r.Lag < 0 || r.Pending < 0 || r.Slow < 0:
		return fmt.Errorf("lag, pending and slow must not be negative")
	case !slices.Contains([]string{"", Reset, Unavailable}, r.Down):
		return fmt.Errorf("down is %q, and must be %s or %s", r.Down, Reset, Unavailable)
	case r.Throttle != nil && (r.Throttle.PerSecond < 0 || r.Throttle.Burst < 0):
		return fmt.Errorf("throttle has a rate or a burst below 0")
	case r.Error != nil && r.Error.Code == "":
		return fmt.Errorf("error has no code")
	case r.Error != nil && r.Error.Status != 0 && (r.Error.Status < 300 || r.Error.Status > 599):
		return fmt.Errorf("error has the status %d; expected 300 to 599", r.Error.Status)
	case r == Rule{Region: r.Region, Service: r.Service, Action: r.Action, From: r.From, Calls: r.Calls}:
		return fmt.Errorf("it says nothing of what goes wrong")
	}
	return nil
}

// Set is the rules that are in force. It is safe for concurrent use.
type Set struct {
	now  func() time.Time
	file os.FileInfo // of the file that was loaded last, when it was; nil: it was not there

	mu    sync.Mutex
	rules []*active
}

// active is a rule and what it remembers.
type active struct {
	Rule
	seen   int
	bucket *rate.Limiter
}

// New returns a set without rules, whose rates go by the clock now.
func New(now func() time.Time) *Set { return &Set{now: now} }

// Replace puts rules in force in place of all others, their counts at zero.
func (s *Set) Replace(rules []Rule) error {
	var next []*active
	for i, r := range rules {
		if err := r.Check(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
		a := &active{Rule: r}
		if t := r.Throttle; t != nil {
			a.bucket = rate.NewLimiter(rate.Limit(t.PerSecond), max(1, t.Burst))
		}
		next = append(next, a)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = next
	return nil
}

func (r Rule) match(c Call) bool {
	for _, m := range [][2]string{{r.Region, c.Region}, {r.Service, c.Service}, {r.Action, c.Action}} {
		if ok, _ := path.Match(m[0], m[1]); m[0] != "" && !ok { // Check has seen the pattern
			return false
		}
	}
	return true
}

// Meet counts a call, and returns what happens to it.
func (s *Set) Meet(c Call) Effect {
	s.mu.Lock()
	defer s.mu.Unlock()
	var e Effect
	for _, r := range s.rules {
		if !r.match(c) {
			continue
		}
		r.seen++
		if r.seen < r.From || r.Calls > 0 && r.seen >= max(1, r.From)+r.Calls {
			continue
		}
		e.Lag, e.Pending, e.Slow = max(e.Lag, r.Lag), max(e.Pending, r.Pending), max(e.Slow, r.Slow)
		e.LostReply, e.Denied, e.Fail = e.LostReply || r.LostReply, e.Denied || r.Denied, e.Fail || r.Fail
		if r.Down != "" {
			e.Down = r.Down
		}
		if r.Error != nil {
			e.Error = r.Error
		}
		if r.bucket != nil && !r.bucket.AllowN(s.now(), 1) {
			e.Throttled = true
		}
	}
	return e
}
