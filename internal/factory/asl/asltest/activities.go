package asltest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// Activities stands in for the part of Step Functions that workers speak to: GetActivityTask, SendTaskSuccess, SendTaskFailure and
// SendTaskHeartbeat; and for ListExecutions, with the runs that a test says there are, and StartExecution, which does not play what it
// starts.
type Activities struct {
	URL string

	mu      sync.Mutex
	queues  map[string][]*task
	given   map[string]*task // by token
	running []execution
	started []execution
	refusal string
	arrived chan struct{}  // closed when a task comes
	Beats   int            // how many signs of life came
	Taken   map[string]int // how many tasks each worker took
}

type task struct {
	input     json.RawMessage
	heartbeat time.Duration
	token     string
	beat      chan struct{}
	done      chan outcome // holds one
}

type outcome struct {
	Output, Error, Cause string
}

// hold is how long a worker is kept waiting for a task.
const hold = 2 * time.Second

// NewActivities serves on loopback until the test ends.
func NewActivities(t testing.TB) *Activities {
	a := &Activities{queues: map[string][]*task{}, given: map[string]*task{}, arrived: make(chan struct{}), Taken: map[string]int{}}
	s := httptest.NewServer(a)
	a.URL = s.URL
	t.Cleanup(s.Close)
	return a
}

// execution is a run of a state machine.
type execution struct {
	machine string // its ARN; "" for that of any machine
	name    string
	input   string
}

func (e execution) arn() string { return "arn:of:" + e.name }

// Running says which runs are going on, whatever machine is asked for: their names, oldest first. What was started is over.
func (a *Activities) Running(names ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running = nil
	for _, name := range names {
		a.running = append(a.running, execution{name: name})
	}
}

// Started returns the runs of a machine that were started, oldest first: their names, and their inputs.
func (a *Activities) Started(machine string) (names []string, inputs []json.RawMessage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.started {
		if e.machine == machine {
			names, inputs = append(names, e.name), append(inputs, json.RawMessage(e.input))
		}
	}
	return names, inputs
}

// start starts a run, as Step Functions does: of two calls of a name with the same input, the second changes nothing while the run is
// going on; else it is refused, for 90 days after the run's end.
func (a *Activities) start(e execution) (arn, refusal string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	same := func(x execution) bool { return x.machine == e.machine && x.name == e.name }
	if i := slices.IndexFunc(a.started, same); i >= 0 {
		if a.started[i].input == e.input && slices.ContainsFunc(a.running, same) {
			return e.arn(), ""
		}
		return "", "ExecutionAlreadyExists"
	}
	a.started, a.running = append(a.started, e), append(a.running, e)
	return e.arn(), ""
}

// Refuse refuses every call with an error of this code.
func (a *Activities) Refuse(code string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refusal = code
}

// Do has a worker do a task, and returns its output, or a StateError. A worker that gives no sign of life is given up.
func (a *Activities) Do(ctx context.Context, arn string, input json.RawMessage, heartbeat time.Duration) (json.RawMessage, error) {
	x := &task{input: input, heartbeat: heartbeat, token: rand.Text(), beat: make(chan struct{}, 1), done: make(chan outcome, 1)}
	a.mu.Lock()
	a.queues[arn] = append(a.queues[arn], x)
	close(a.arrived)
	a.arrived = make(chan struct{})
	a.mu.Unlock()
	for {
		given := a.isGiven(x)
		lost := time.After(50 * time.Millisecond) // and look again
		if given {
			lost = time.After(heartbeat)
		}
		select {
		case <-ctx.Done():
			a.drop(x)
			return nil, ctx.Err()
		case o := <-x.done:
			if o.Error != "" {
				return nil, &StateError{o.Error, o.Cause}
			}
			return json.RawMessage(o.Output), nil
		case <-x.beat:
		case <-lost:
			if given && heartbeat > 0 && len(x.beat) == 0 {
				a.drop(x)
				return nil, &StateError{"States.HeartbeatTimeout", ""}
			}
		}
	}
}

func (a *Activities) isGiven(x *task) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.given[x.token] == x
}

func (a *Activities) drop(x *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.given, x.token)
}

// ServeHTTP implements http.Handler: the JSON protocol of Step Functions.
func (a *Activities) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ActivityArn, WorkerName, TaskToken, Output, Error, Cause, StateMachineArn, Name, Input string
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, "SerializationException")
		return
	}
	a.mu.Lock()
	refusal := a.refusal
	a.mu.Unlock()
	if refusal != "" {
		refuse(w, refusal)
		return
	}
	switch r.Header.Get("X-Amz-Target") {
	case "AWSStepFunctions.GetActivityTask":
		reply(w, a.take(r.Context(), in.ActivityArn, in.WorkerName))
	case "AWSStepFunctions.SendTaskHeartbeat":
		a.mu.Lock()
		x := a.given[in.TaskToken]
		a.Beats++
		a.mu.Unlock()
		if x == nil {
			refuse(w, "TaskTimedOut")
			return
		}
		select {
		case x.beat <- struct{}{}:
		default:
		}
		reply(w, map[string]any{})
	case "AWSStepFunctions.SendTaskSuccess", "AWSStepFunctions.SendTaskFailure":
		a.mu.Lock()
		x := a.given[in.TaskToken]
		delete(a.given, in.TaskToken)
		a.mu.Unlock()
		if x == nil {
			refuse(w, "TaskTimedOut")
			return
		}
		x.done <- outcome{in.Output, in.Error, in.Cause}
		reply(w, map[string]any{})
	case "AWSStepFunctions.ListExecutions":
		a.mu.Lock()
		defer a.mu.Unlock()
		all := []map[string]any{}
		for i, e := range a.running {
			if e.machine == "" || e.machine == in.StateMachineArn {
				all = append(all, map[string]any{"executionArn": e.arn(), "name": e.name, "stateMachineArn": in.StateMachineArn, "status": "RUNNING", "startDate": 1.7e9 + float64(i)})
			}
		}
		reply(w, map[string]any{"executions": all})
	case "AWSStepFunctions.StartExecution":
		arn, refusal := a.start(execution{in.StateMachineArn, in.Name, in.Input})
		if refusal != "" {
			refuse(w, refusal)
			return
		}
		reply(w, map[string]any{"executionArn": arn, "startDate": 1.7e9})
	default:
		refuse(w, "UnknownOperationException")
	}
}

// take gives a worker the next task, or nothing after a while.
func (a *Activities) take(ctx context.Context, arn, worker string) map[string]any {
	limit := time.After(hold)
	for {
		a.mu.Lock()
		arrived := a.arrived
		if queue := a.queues[arn]; len(queue) > 0 && ctx.Err() == nil {
			x := queue[0]
			a.queues[arn], a.given[x.token] = queue[1:], x
			a.Taken[worker]++
			a.mu.Unlock()
			return map[string]any{"taskToken": x.token, "input": string(x.input)}
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-limit:
			return map[string]any{}
		case <-arrived:
		}
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_ = json.NewEncoder(w).Encode(v) // the worker may have gone
}

func refuse(w http.ResponseWriter, code string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": "refused"})
}
