package verify

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"ingot/internal/progress"
)

// Limits of what a verdict keeps; a guest in a loop says the same for ever.
const (
	maxFindings = 200
	maxPerRule  = 20
	keptLines   = 20 // of the console's end, for the reason of a failure
)

// watcher reads the console while the guest boots: it keeps the raw text, times the stages, judges every
// line and collects the host keys that the guest announces. It is also told what happens over SSH.
type watcher struct {
	log   io.Writer // takes the raw console
	task  *progress.Task
	allow []string
	start time.Time
	fatal chan struct{} // closed at the first fatal finding

	mu       sync.Mutex
	lines    *splitter
	stages   map[string]float64 // seconds since the start, by name
	findings []Finding
	perRule  map[string]int
	last     []string // the newest lines
	announce bool     // inside cloud-init's list of host keys
	hostKeys []string // fingerprints announced there
}

func newWatcher(log io.Writer, task *progress.Task, allow []string) *watcher {
	w := &watcher{log: log, task: task, allow: allow, start: time.Now(), fatal: make(chan struct{}),
		stages: map[string]float64{}, perRule: map[string]int{}}
	w.lines = &splitter{emit: w.line}
	return w
}

// Write takes what the guest prints.
func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.lines.Write(p)
	// A prompt does not end its line: nobody will answer it, so it has to be judged as it stands.
	if p := w.lines.partial(); prompt.MatchString(p) {
		if r := match(p, Console); r != nil && r.Severity == Fatal {
			w.lines.flush()
		}
	}
	return w.log.Write(p)
}

var prompt = regexp.MustCompile(`[>)#] ?$|maintenance.*: $`)

func (w *watcher) since() float64 { return seconds(time.Since(w.start)) }

var fingerprint = regexp.MustCompile(`\bSHA256:[A-Za-z0-9+/]{43}\b`)

// line judges a line of the console.
func (w *watcher) line(text string) {
	if w.last = append(w.last, text); len(w.last) > keptLines {
		w.last = w.last[1:]
	}
	for _, s := range consoleStages() {
		if _, seen := w.stages[s.name]; !seen && s.re.MatchString(text) {
			w.reached(s.name)
		}
	}
	switch {
	case strings.Contains(text, "BEGIN SSH HOST KEY FINGERPRINTS"):
		w.announce = true
	case strings.Contains(text, "END SSH HOST KEY FINGERPRINTS"):
		w.announce = false
	case w.announce:
		w.hostKeys = append(w.hostKeys, fingerprint.FindAllString(text, 1)...)
	}
	w.judge(text, Console)
}

// reached notes a stage, once.
func (w *watcher) reached(name string) {
	if _, seen := w.stages[name]; !seen {
		w.stages[name] = w.since()
		w.task.Logf("%s after %.1f s", name, w.stages[name])
	}
}

// Reached notes a stage that is known otherwise than from the console.
func (w *watcher) Reached(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reached(name)
}

// Judge applies the rules to a text of the guest other than the console.
func (w *watcher) Judge(text string, scope Scope) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(text) {
		w.judge(strings.TrimRight(line, "\r\n"), scope)
	}
}

// stamp is what kernels, journals and syslogs put in front of a message.
var stamp = regexp.MustCompile(`^(<\d+>)?(\[ *\d+\.\d+\] *)?(\S+ (kernel|systemd\[1\]): )?`)

func (w *watcher) judge(text string, scope Scope) {
	r := match(text, scope)
	if r == nil || w.perRule[r.Name] >= maxPerRule || len(w.findings) >= maxFindings {
		return
	}
	bare := stamp.ReplaceAllString(text, "")
	if slices.ContainsFunc(w.findings, func(f Finding) bool { return f.Rule == r.Name && stamp.ReplaceAllString(f.Line, "") == bare }) {
		return // the journal repeats what the console said
	}
	w.perRule[r.Name]++
	f := Finding{Rule: r.Name, Severity: r.Severity, Meaning: r.Meaning, Line: text, Source: scope, At: w.since(), Allowed: slices.Contains(w.allow, r.Name)}
	w.findings = append(w.findings, f)
	if f.Allowed {
		return
	}
	w.task.Logf("%s: %s: %s", r.Severity, r.Name, text)
	if r.Severity == Fatal {
		select {
		case <-w.fatal:
		default:
			close(w.fatal)
		}
	}
}

// failure returns why the findings so far fail the verdict, or "".
func (w *watcher) failure() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	worst := ""
	for _, f := range w.findings {
		if !f.Allowed && f.Severity != Warn && (worst == "" || f.Severity == Fatal) {
			worst = fmt.Sprintf("%s (%s): %s", f.Meaning, f.Rule, f.Line)
			if f.Severity == Fatal {
				break
			}
		}
	}
	return worst
}

// where says how far the boot came, for people.
func (w *watcher) where() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := "nothing was heard of it"
	for _, name := range stageNames {
		if _, ok := w.stages[name]; ok {
			at = "it came as far as " + name
		}
	}
	line := w.lines.partial()
	if line == "" && len(w.last) > 0 {
		line = w.last[len(w.last)-1]
	}
	return fmt.Sprintf("%s; the console's last line is %q", at, line)
}

// finish judges what was printed without an end of line, such as a prompt.
func (w *watcher) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines.flush()
}
