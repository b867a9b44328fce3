package faults

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/renameio/v2"
)

func TestMeet(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	now := start
	s := New(func() time.Time { return now })
	register := Call{"us-east-1", "ec2", "RegisterImage"}
	for _, c := range []struct {
		name string
		rule Rule
		call Call
		want []Effect // of calls a second apart
	}{
		{"another region", Rule{Region: "eu-*", Denied: true}, register, []Effect{{}}},
		{"a region", Rule{Region: "us-*-1", Denied: true}, register, []Effect{{Denied: true}, {Denied: true}}},
		{"another service", Rule{Service: "ebs", Denied: true}, register, []Effect{{}}},
		{"another action", Rule{Action: "Describe*", Denied: true}, register, []Effect{{}}},
		{"the second call", Rule{From: 2, Calls: 1, LostReply: true}, register, []Effect{{}, {LostReply: true}, {}}},
		{"the first two", Rule{Calls: 2, Slow: time.Second}, register, []Effect{{Slow: time.Second}, {Slow: time.Second}, {}}},
		{"from the second on", Rule{From: 2, Down: Reset}, register, []Effect{{}, {Down: Reset}, {Down: Reset}}},
		{"one in two seconds", Rule{Throttle: &Rate{PerSecond: 0.5}}, register, []Effect{{}, {Throttled: true}, {}}},
		{"none after the burst", Rule{Throttle: &Rate{Burst: 2}}, register, []Effect{{}, {}, {Throttled: true}}},
		{"lag and pending", Rule{Lag: 1, Pending: 2, Fail: true}, register, []Effect{{Lag: 1, Pending: 2, Fail: true}}},
	} {
		if err := s.Replace([]Rule{c.rule}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for i, want := range c.want {
			now = start.Add(time.Duration(i) * time.Second)
			if d := cmp.Diff(want, s.Meet(c.call)); d != "" {
				t.Errorf("%s, call %d (-want +got)\n%s", c.name, i+1, d)
			}
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte("- region: eu-north-1\n  throttle: {per_second: 5, burst: 10}\n- action: RegisterImage\n  calls: 1\n  lost_reply: true\n  lag: 1m30s\n" +
		"- service: ssm\n  error: {status: 500, code: InternalServerError}\n"))
	want := []Rule{{Region: "eu-north-1", Throttle: &Rate{5, 10}}, {Action: "RegisterImage", Calls: 1, LostReply: true, Lag: 90 * time.Second},
		{Service: "ssm", Error: &Error{Status: 500, Code: "InternalServerError"}}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if got, err := Parse(nil); err != nil || got != nil {
		t.Errorf("an empty file has %v, %v", got, err)
	}
	for _, text := range []string{"- colour: blue", "- region: us-east-1", "- region: '['\n  denied: true", "- from: -1\n  denied: true", "- down: sometimes",
		"- lag: -1s", "- error: {message: x}", "- error: {code: x, status: 200}", "- throttle: {per_second: -1}", "denied: true", "- lag: soon"} {
		if got, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: taken as %+v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("- region: eu-*\n  throttle: {per_second: 5}\n"))
	f.Add([]byte("- {action: X, from: 2, calls: 1, lost_reply: true, lag: 1s, error: {code: E}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, err := Parse(text)
		if err != nil {
			return
		}
		s := New(time.Now)
		if err := s.Replace(rules); err != nil {
			t.Fatalf("what was parsed is refused: %v", err)
		}
		s.Meet(Call{"us-east-1", "ec2", "RegisterImage"})
	})
}

func TestFollow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "faults.yaml")
	write := func(text string) { // whole: a file of half the rules is one, too
		if err := renameio.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := New(time.Now)
	if s.Load(path) == nil {
		t.Error("a file that is not there was loaded")
	}
	write("- denied: true\n")
	if err := s.Load(path); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed, ended := make(chan error, 100), make(chan struct{})
	go func() {
		defer close(ended)
		s.Follow(ctx, path, time.Millisecond, func(err error) { failed <- err })
	}()
	write("- {denied: true, lost_reply: true}\n")
	for deadline := time.Now().Add(20 * time.Second); !s.Meet(Call{}).LostReply; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new rules are not in force")
		}
	}
	write("nonsense that is longer than what was there")
	select {
	case <-failed:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told of a broken file")
	}
	if !s.Meet(Call{}).LostReply {
		t.Error("a broken file changed the rules")
	}
	cancel()
	<-ended
}
