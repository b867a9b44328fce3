// Package asltest runs state machines in an interpreter that is not ours, and stands in for what of Step Functions it lacks:
// activities, task tokens and heartbeats.
package asltest

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/factory/asl"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Modules is where scripts/host-tools puts what comes from npm.
const Modules = "/usr/local/share/ingot-test/node/node_modules"

//go:embed play.js
var script string

// Need skips a test without a module of npm.
func Need(t testing.TB, module string) {
	t.Helper()
	if _, err := os.Stat(Modules + "/" + module); err != nil {
		t.Skipf("%s of npm is not installed", module)
	}
}

// Task is one call of a machine: of a Lambda function, or of an activity.
type Task struct {
	State     string
	Resource  string
	Heartbeat int // seconds
	Input     json.RawMessage
}

// Lambda returns what is asked of a Lambda function.
func (t Task) Lambda() (payload json.RawMessage, ok bool) {
	var in struct{ Payload json.RawMessage }
	if t.Resource != "arn:aws:states:::lambda:invoke" || json.Unmarshal(t.Input, &in) != nil {
		return nil, false
	}
	return in.Payload, true
}

// StateError is an error as Step Functions has it.
type StateError struct{ Name, Cause string }

func (e *StateError) Error() string { return e.Name + ": " + e.Cause }

// Player is the interpreter. It takes long to start, and runs any number of machines side by side.
type Player struct {
	t     testing.TB
	mu    sync.Mutex
	in    io.Writer
	runs  map[string]chan answer
	ended chan struct{}
}

type answer struct {
	Name         string
	Result       json.RawMessage
	Error, Cause string
}

// NewPlayer starts an interpreter that ends with the test.
func NewPlayer(t testing.TB) *Player {
	t.Helper()
	Need(t, "aws-local-stepfunctions")
	cmd := exec.Command("node", "-e", script)
	cmd.Env = append(os.Environ(), "MODULES="+Modules)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Player{t: t, in: in, runs: map[string]chan answer{}, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		for d := json.NewDecoder(out); ; {
			var a answer
			if err := d.Decode(&a); err != nil {
				return
			}
			p.mu.Lock()
			c := p.runs[a.Name]
			p.mu.Unlock()
			c <- a
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		_ = cmd.Wait()
	})
	return p
}

// playLimit bounds a run of a machine; on a busy computer, one that builds an image takes long.
const playLimit = 20 * time.Minute

// Play runs a machine to its end. Its tasks are done by do, whose errors should be StateErrors; so is the error returned. Each
// run of a player has a name of its own.
func (p *Player) Play(definition []byte, run string, input any, do func(context.Context, Task) (any, error)) (json.RawMessage, error) {
	p.t.Helper()
	bridge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var task Task
		answer := map[string]any{}
		err := json.NewDecoder(r.Body).Decode(&task)
		if err == nil {
			answer["result"], err = do(r.Context(), task)
		}
		var failed *StateError
		if errors.As(err, &failed) {
			answer["error"], answer["cause"] = failed.Name, failed.Cause
		} else if err != nil {
			answer["error"], answer["cause"] = "Lambda.Unknown", err.Error()
		}
		_ = json.NewEncoder(w).Encode(answer) // the interpreter may have gone
	}))
	defer bridge.Close()
	text, err := json.Marshal(map[string]any{"definition": json.RawMessage(definition), "name": run, "input": map[string]any{"input": input}, "bridge": bridge.URL})
	if err != nil {
		p.t.Fatal(err)
	}
	done := make(chan answer, 1)
	p.mu.Lock()
	p.runs[run] = done
	_, err = p.in.Write(append(text, '\n'))
	p.mu.Unlock()
	if err != nil {
		p.t.Fatal(err)
	}
	select {
	case a := <-done:
		if a.Error != "" {
			return nil, &StateError{a.Error, a.Cause}
		}
		return a.Result, nil
	case <-p.ended:
		p.t.Error("the interpreter has ended")
	case <-time.After(playLimit):
		p.t.Errorf("the interpreter does not end run %s", run)
	}
	return nil, errors.New("the interpreter gave no answer")
}

// Function does what a machine asks of the Lambda function, in this process.
func Function(ctx context.Context, tasks map[string]flow.Func, payload json.RawMessage, p *progress.Reporter) (any, error) {
	var r asl.Request
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, err
	}
	res, err := r.Do(ctx, tasks, p)
	if err != nil {
		name, cause := r.Fail(err, nil).ErrorCause()
		text, e := json.Marshal(map[string]string{"errorType": name, "errorMessage": cause})
		return nil, errors.Join(&StateError{name, string(text)}, e)
	}
	return map[string]any{"Payload": res}, nil
}

// Kind returns the kind of an error that a machine ended with.
func Kind(err error) fault.Kind {
	var e *StateError
	if !errors.As(err, &e) {
		return fault.KindOf(err)
	}
	return fault.KindOf(asl.ReadFailure(e.Name, e.Cause).Err())
}

// Check has two validators that are not ours read a machine.
func Check(t testing.TB, definition []byte) {
	t.Helper()
	path := t.TempDir() + "/machine.json"
	if err := os.WriteFile(path, definition, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"asl-validator", "/dist/bin/asl-validator.js", "--json-path", path},
		{"@wmfs/statelint", "/bin/statelint.js", path},
	} {
		Need(t, args[0])
		out, err := exec.CommandContext(t.Context(), "node", append([]string{Modules + "/" + args[0] + args[1]}, args[2:]...)...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "State machine") && !strings.Contains(string(out), "is valid") {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
}
