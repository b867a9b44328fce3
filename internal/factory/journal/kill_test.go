package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/factory/flow"
)

const killedIn = "INGOT_TEST_JOURNAL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedIn); dir != "" {
		if err := drive(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// drive is what is killed: it drives the one run of a journal to its end. Each step writes its name and token into a file when it
// begins, and again when it has ended.
func drive(dir string) error {
	ctx := context.Background()
	j, err := Open(ctx, filepath.Join(dir, "factory.db"), System{})
	if err != nil {
		return err
	}
	defer j.Close()
	release, err := j.Hold("test")
	if err != nil {
		return err
	}
	defer release()
	os.Stdout.Close()
	p := sample()
	runs, err := j.Runs(ctx, "", 2)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		if _, err := j.Submit(ctx, Order{Flow: p}); err != nil {
			return err
		}
	}
	tasks := map[string]flow.Func{}
	for _, s := range p.Steps {
		tasks[s.Name] = func(_ context.Context, c flow.Call, _ json.RawMessage) (json.RawMessage, error) {
			note(dir, "begin", c)
			time.Sleep(rand.N(40 * time.Millisecond))
			note(dir, "end", c)
			if c.Step == "upload" {
				return json.RawMessage(`{"regions":["eu","us","ap"]}`), nil
			}
			return json.RawMessage(`{}`), nil
		}
	}
	_, err = (&Driver{Journal: j, Tasks: tasks}).Do(ctx, 1)
	return err
}

func note(dir, word string, c flow.Call) {
	f, err := os.OpenFile(filepath.Join(dir, "notes"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %s/%s %s\n", word, c.Step, c.Item, c.Token); err != nil {
		panic(err)
	}
}

// TestKilled kills the driver at random moments. What was recorded as done is never begun again, every attempt at a step
// has the same token, and in the end all is done.
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds := 1
	if os.Getenv("INGOT_E2E") != "" {
		rounds = 10
	}
	for round := range rounds {
		dir := t.TempDir()
		begun := map[string]int{} // how often a step had been begun when it was recorded as done
		kills := 0
		for ; ; kills++ {
			if kills > 200 {
				t.Fatal("it never ends")
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), killedIn+"="+dir)
			out := &strings.Builder{}
			cmd.Stderr = out
			up, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if kills%4 > 0 { // else perhaps before it holds the journal
				_, _ = up.Read(make([]byte, 1))
			}
			limit := 50 * time.Millisecond * time.Duration(2+kills) // ever longer: how slow the machine is, nobody knows
			kill := time.AfterFunc(rand.N(limit), func() { _ = cmd.Process.Kill() })
			err = cmd.Wait()
			kill.Stop()
			if err != nil && cmd.ProcessState.Exited() {
				t.Fatalf("round %d: %v: %s", round, err, out)
			}
			check(t, dir, begun)
			if err == nil {
				break
			}
		}
		if len(begun) != 11 {
			t.Errorf("%d steps are done: %v", len(begun), begun)
		}
		t.Logf("round %d: done after %d kills", round, kills)
	}
}

// check compares the journal with what was really done.
func check(t *testing.T, dir string, begun map[string]int) {
	t.Helper()
	notes, err := os.ReadFile(filepath.Join(dir, "notes"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	begins, ends, tokens := map[string]int{}, map[string]int{}, map[string]string{}
	for line := range strings.Lines(string(notes)) {
		f := strings.Fields(line)
		if f[0] == "begin" {
			begins[f[1]]++
		} else {
			ends[f[1]]++
		}
		if tokens[f[1]] == "" {
			tokens[f[1]] = f[2]
		}
		if tokens[f[1]] != f[2] {
			t.Errorf("%s has another token the next time", f[1])
		}
	}
	j, err := Open(t.Context(), filepath.Join(dir, "factory.db"), System{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	runs, err := j.Runs(t.Context(), "", 2)
	if err != nil || len(runs) == 0 {
		return // it was killed before it ordered the run
	}
	steps, err := j.Steps(t.Context(), runs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		name := s.Name + "/" + s.Item
		if s.State == Done && ends[name] == 0 {
			t.Errorf("%s is recorded as done, and was not", name)
		}
		if n, known := begun[name]; known && (s.State != Done || begins[name] != n) {
			t.Errorf("%s was done, and is %s now, begun %d times, then %d", name, s.State, n, begins[name])
		}
		if s.State == Done {
			begun[name] = begins[name]
		}
		if s.Token == "" || tokens[name] != "" && tokens[name] != s.Token {
			t.Errorf("%s was done with another token than is written down", name)
		}
	}
}
