package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"ingot/internal/bundle"
	"ingot/internal/fault"

	"ingot/cmd/ingot-temporal/interpreter"
)

// has reports whether a schedule of a pipeline is on the server.
func (w *works) has(pipeline string) bool {
	_, err := w.client.ScheduleClient().GetHandle(w.Context(), interpreter.RunID(pipeline)).Describe(w.Context())
	return err == nil
}

// over waits for the end of the last run of a pipeline, and returns the run and how it ended.
func (w *works) over(pipeline string) (run, state string) {
	w.Helper()
	last := w.client.GetWorkflow(w.Context(), interpreter.RunID(pipeline), "")
	var status interpreter.Status
	if err := last.Get(w.Context(), &status); err != nil {
		w.Errorf("the run of %s: %v", pipeline, err)
	}
	return last.GetRunID(), string(status.State)
}

// begun returns the names of the steps that have begun, each once, and forgets them.
func (w *works) begun() (steps []string) {
	w.Helper()
	for _, line := range w.did(true) {
		if step, ok := strings.CutPrefix(line, "begin "); ok {
			steps = append(steps, strings.Fields(step)[0])
		}
	}
	slices.Sort(steps)
	return slices.Compact(steps)
}

// Upkeep on a Temporal server, which orders a run; a run that is repeated in part; and an image of the kind instance-store.
func TestTemporalUpkeep(t *testing.T) {
	w := newWorks(t, "publish: {regions: [us-east-1, eu-west-1]}\nschedule: {cron: 0 2 1 * *, upkeep: 0 5 * * *, rebuild: true}\n")
	kill := w.work("first")
	if out, code := w.start("--wait"); code != 0 {
		t.Fatalf("the first run: %d, %s", code, out)
	}
	first, _ := w.over("img")

	if out, code := w.start("--schedule", "--dry-run"); code != 0 || !strings.Contains(out, "img: its schedule would be made: 0 2 1 * * (UTC)") ||
		!strings.Contains(out, "img/upkeep: its schedule would be made: 0 5 * * * (UTC)") || w.has("img") || w.has("img/upkeep") {
		t.Errorf("%d, %s", code, out)
	}
	if out, code := w.start("--schedule"); code != 0 || !strings.Contains(out, "img runs next on ") || !strings.Contains(out, "img/upkeep runs next on ") {
		t.Fatalf("%d, %s", code, out)
	}
	handle := w.client.ScheduleClient().GetHandle(t.Context(), interpreter.RunID("img/upkeep"))
	d, err := handle.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if next := d.Info.NextActionTimes; len(next) == 0 || next[0].UTC().Hour() != 5 || d.Schedule.Spec.Jitter != time.Hour {
		t.Errorf("upkeep is due at %v, up to %v later", next, d.Schedule.Spec.Jitter)
	}

	t.Log("upkeep finds newer packages, and orders a run")
	w.image.Upgrade()
	w.did(true)
	if err := handle.Trigger(t.Context(), client.ScheduleTriggerOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await("end rebuild")
	if _, state := w.over("img/upkeep"); state != "done" {
		t.Errorf("upkeep is %s", state)
	}
	second, state := w.over("img")
	if state != "done" || second == first || len(w.releases()) != 2 {
		t.Errorf("the run that upkeep ordered: %s, %s; %v", second, state, w.releases())
	}
	if events, _ := w.messages(); !slices.Equal(events, []string{"released", "released"}) {
		t.Errorf("told: %v", events)
	}
	if out, code := w.call("status"); code != 0 || !strings.Contains(out, " img/upkeep ") {
		t.Errorf("status: %d, %s", code, out)
	}
	w.replay(interpreter.RunID("img/upkeep"))

	t.Log("upkeep by hand finds nothing more")
	w.did(true)
	if out, code := w.start("--upkeep", "--wait"); code != 0 || !strings.Contains(out, "img/upkeep: done") {
		t.Errorf("%d, %s", code, out)
	}
	if steps := w.begun(); !slices.Equal(steps, []string{"check", "rebuild"}) {
		t.Errorf("it did %v", steps)
	}
	if last, _ := w.over("img"); last != second {
		t.Errorf("it has ordered the run %s", last)
	}

	t.Log("a run is repeated in part, by a worker that has nothing")
	kill()
	kill = w.work("second")
	if out, code := w.start("--from", "share", "--dry-run"); code != 0 || !strings.Contains(out, "img: run "+second+" would be repeated: share, record, announce\n") {
		t.Errorf("%d, %s", code, out)
	}
	if out, code := w.start("--from", "paint"); code != fault.Usage.Exit() || !strings.Contains(out, `there is no step "paint"`) {
		t.Errorf("%d, %s", code, out)
	}
	if out, code := w.start("--from", "share", "--wait"); code != 0 {
		t.Errorf("%d, %s", code, out)
	}
	if steps := w.begun(); !slices.Equal(steps, []string{"announce", "record", "share"}) {
		t.Errorf("it did %v", steps)
	}
	w.replay(interpreter.RunID("img"))

	t.Log("there is to be no upkeep any more, and then no schedule")
	w.rewrite("upkeep: 0 5 * * *", "upkeep: never")
	if out, code := w.start("--schedule"); code != 0 || !strings.Contains(out, "img/upkeep: the schedule is gone") || w.has("img/upkeep") || !w.has("img") {
		t.Errorf("%d, %s", code, out)
	}
	if out, code := w.start("--unschedule", "--dry-run"); code != 0 || !strings.Contains(out, "img: its schedule would be taken away") || !w.has("img") {
		t.Errorf("%d, %s", code, out)
	}
	if out, code := w.start("--unschedule"); code != 0 || w.has("img") {
		t.Errorf("%d, %s", code, out)
	}
	if _, code := w.start("--unschedule"); code != fault.Missing.Exit() {
		t.Errorf("taking away what is not there: %d", code)
	}

	t.Log("an image of the kind instance-store, which takes a key")
	w.rewrite("firmware: uefi", "firmware: bios")
	w.rewrite("publish: {regions: [us-east-1, eu-west-1]}", `publish: {regions: [us-east-1, eu-west-1], kinds: [instance-store], bucket: "images-{account}-{region}"}`)
	if out, code := w.start("--wait"); code != fault.Usage.Exit() || !strings.Contains(out, "name it with --key") {
		t.Errorf("without a key: %d, %s", code, out)
	}
	kill()
	cert, err := w.region.BundleCertificate()
	if err != nil {
		t.Fatal(err)
	}
	w.work("third", "--key="+w.key(), "--create-bucket", "--ec2-cert="+cert)
	if out, code := w.start("--wait"); code != 0 {
		t.Errorf("%d, %s", code, out)
	}
	if all := w.releases(); len(all) != 3 || !slices.Contains(all, "instance-store verified 2") {
		t.Errorf("the catalogue: %v", all)
	}
}

// rewrite puts another text into the recipe.
func (w *works) rewrite(text, with string) {
	w.Helper()
	recipe, err := os.ReadFile(w.image.Recipe)
	if err != nil || strings.Count(string(recipe), text) != 1 {
		w.Fatalf("%s is not in the recipe once: %v", text, err)
	}
	if err := os.WriteFile(w.image.Recipe, []byte(strings.Replace(string(recipe), text, with, 1)), 0o644); err != nil {
		w.Fatal(err)
	}
}

// key makes a private key, and returns its file.
func (w *works) key() string {
	w.Helper()
	key, cert, err := bundle.Keygen("me", time.Now())
	path := filepath.Join(w.dir, "me-key.pem")
	if err == nil {
		err = bundle.WriteKeys(path, key, filepath.Join(w.dir, "me-cert.pem"), cert)
	}
	if err != nil {
		w.Fatal(err)
	}
	return path
}
