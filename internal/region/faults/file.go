package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"ingot/internal/fault"
)

// maxFile is how large a file of rules may be.
const maxFile = 1 << 20

// Parse reads rules: YAML, a list.
func Parse(text []byte) ([]Rule, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("rules of more than %d bytes", maxFile)
	}
	var rules []Rule
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := dec.Decode(&rules); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for i, r := range rules {
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return rules, nil
}

// Load puts the rules of a file in force. It and Follow must not run beside each other.
func (s *Set) Load(path string) error {
	s.file, _ = os.Stat(path) // before it is read: what changes from here on is seen by Follow
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading rules of faults: %w", err)
	}
	rules, err := Parse(text)
	if err == nil {
		err = s.Replace(rules)
	}
	if err != nil {
		return fault.Newf(fault.Input, "reading rules of faults from %s: %w", path, err)
	}
	return nil
}

// Follow loads a file that was loaded again whenever it has changed, until ctx ends. What cannot be read is told to failed, and the rules of
// before stay.
func (s *Set) Follow(ctx context.Context, path string, every time.Duration, failed func(error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info, err := os.Stat(path)
		last := s.file
		if last == nil && err != nil || last != nil && err == nil && info.ModTime().Equal(last.ModTime()) && info.Size() == last.Size() {
			continue // as before, or still not there
		}
		if err := s.Load(path); err != nil {
			failed(err)
		}
	}
}
