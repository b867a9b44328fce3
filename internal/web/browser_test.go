package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"ingot/internal/factory/journal"
)

// browser starts Debian's Chromium. Its pages are those of the server under test alone.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WSURLReadTimeout(stepLimit))
	for _, name := range []string{"disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
		"disable-component-update", "disable-sync"} {
		flags = append(flags, chromedp.Flag(name, true))
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), flags...)
	t.Cleanup(cancel)
	return tab(t, ctx) // starts it, so that the tabs to come are in one browser
}

// stepLimit bounds each step alone: on a machine that others use, too, a page's accessibility check takes ten times as long as on an idle
// one. What is slow by itself shows in the processor's time that pages take (pageCost).
const stepLimit = 90 * time.Second

// tab opens a tab, or the browser. Neither may get a context with a limit: it would end with that.
func tab(t *testing.T, ctx context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	late := time.AfterFunc(stepLimit, cancel)
	defer late.Stop()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// eval returns the value of a JavaScript expression in the page.
func eval[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func TestBrowser(t *testing.T) {
	ctx := browser(t)
	for name, test := range map[string]func(*testing.T, context.Context){"use": use, "without script": withoutScript, "layout": layout, "static": staticSite, "runs": following} {
		t.Run(name, func(t *testing.T) {
			test(t, tab(t, ctx))
		})
	}
}

// use does what a visitor does: filter, copy, look into a release.
func use(t *testing.T, ctx context.Context) {
	server := httptest.NewServer(Handler(fill(t), Options{}))
	t.Cleanup(server.Close)
	messages := chromedp.Console(ctx)
	// What would be copied, since a headless browser has no clipboard to read back.
	const spy = `navigator.clipboard.writeText = async (text) => { window.copied = text }; 0`

	do(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(server.URL), chromedp.WaitVisible(chromedp.CSS(".copy")))
	if got := eval[string](t, ctx, "document.title"); got != "Machine images · ingot" {
		t.Errorf("title %q", got)
	}
	if n := eval[int](t, ctx, `document.querySelectorAll(".amis li").length`); n != 8 {
		t.Errorf("%d AMIs are listed", n)
	}

	// One choice in the form is enough: it submits itself.
	do(t, ctx, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`(() => { const f = document.getElementById("f-region");
			f.value = "us-east-1"; f.dispatchEvent(new Event("change", {bubbles: true})); return true })()`))
		return err
	}))
	do(t, ctx, chromedp.WaitNotPresent(`//span[text()="eu-west-1"]`))
	if got := eval[string](t, ctx, "location.search"); got != "?region=us-east-1" {
		t.Errorf("address ends in %q", got)
	}

	eval[int](t, ctx, spy)
	do(t, ctx, chromedp.Click(chromedp.CSS(".copy")), chromedp.WaitVisible(chromedp.CSS("#status")))
	want := eval[string](t, ctx, `document.querySelector(".amis .id").textContent`)
	if got := eval[string](t, ctx, "window.copied"); got != want || !strings.HasPrefix(got, "ami-") {
		t.Errorf("copied %q, want %q", got, want)
	}
	if got := eval[string](t, ctx, `document.getElementById("status").textContent`); got != "Copied "+want {
		t.Errorf("said %q", got)
	}
	// Without the clipboard, as on plain http, it is the old command or a selection.
	eval[int](t, ctx, `navigator.clipboard.writeText = async () => { throw new Error("denied") }; 0`)
	do(t, ctx, chromedp.Click(chromedp.CSS(".copy")))
	if got := eval[string](t, ctx, `getSelection().toString()`); got != want {
		t.Errorf("selected %q", got)
	}

	do(t, ctx, chromedp.Click(chromedp.CSS(".card h2 a")), chromedp.WaitVisible(chromedp.CSS("#package-rows")),
		chromedp.SendKeys(chromedp.CSS("#q"), "package-16"))
	if n := eval[int](t, ctx, `[...document.getElementById("package-rows").rows].filter((r) => !r.hidden).length`); n != 11 {
		t.Errorf("%d packages are shown", n)
	}

	for m, err := range drain(ctx, messages) {
		if err == nil && (m.IsException() || m.Type == "error" || m.Type == "warning") {
			t.Errorf("console: %s", m)
		}
	}
}

// going is a journal whose run goes on until it is told to end.
type going struct {
	runs
	over *atomic.Bool
}

func (j going) Run(ctx context.Context, id int64) (journal.Run, error) {
	r, err := j.runs.Run(ctx, id)
	if r.State = journal.Running; j.over.Load() {
		r.State = journal.Done
	}
	return r, err
}

func (j going) Steps(ctx context.Context, id int64) ([]journal.Step, error) {
	if j.over.Load() {
		return j.runs.Steps(ctx, id)
	}
	return []journal.Step{{Name: "upload", State: journal.Running, Attempts: 1, Started: began, Progress: "publish to us-east-1: 45 %"}}, nil
}

// following sees a run end without loading the page again; what has the focus keeps it.
func following(t *testing.T, ctx context.Context) {
	j := going{runs{lines: 3}, new(atomic.Bool)}
	server := httptest.NewServer(Handler(fill(t), Options{Runs: j}))
	t.Cleanup(server.Close)
	messages := chromedp.Console(ctx)
	for _, path := range []string{"/runs", "/runs/7"} {
		do(t, ctx, chromedp.EmulateViewport(390, 900), chromedp.Navigate(server.URL+path), chromedp.WaitVisible(chromedp.CSS("#live")))
		if got := eval[int64](t, ctx, "document.documentElement.scrollWidth"); got > 390 {
			t.Errorf("%s is %d px wide on a telephone", path, got)
		}
		if found := axe(t, ctx); len(found) > 0 {
			t.Errorf("%s: %s", path, strings.Join(found, "\n"))
		}
	}
	if got := eval[string](t, ctx, `document.getElementById("live").textContent`); !strings.Contains(got, "45 %") {
		t.Errorf("the page lacks the progress: %s", got)
	}
	eval[bool](t, ctx, `window.stays = true; document.querySelector("pre").focus(); true`)
	j.over.Store(true)
	do(t, ctx, chromedp.WaitNotPresent(`//td[contains(text(), "45 %")]`))
	if !eval[bool](t, ctx, `window.stays === true && document.activeElement === document.querySelector("pre")`) {
		t.Error("the page was loaded again, or lost the focus")
	}
	if got := eval[string](t, ctx, `document.getElementById("live").textContent`); !strings.Contains(got, "resolve") || !strings.Contains(got, "done") {
		t.Errorf("the page lacks the end: %s", got)
	}
	for m, err := range drain(ctx, messages) {
		if err == nil && (m.IsException() || m.Type == "error") {
			t.Errorf("console: %s", m)
		}
	}
}

// drain ends the messages at the first one of its own, which is behind all others.
func drain(ctx context.Context, messages func(func(chromedp.ConsoleMessage, error) bool)) func(func(chromedp.ConsoleMessage, error) bool) {
	_, _ = chromedp.Run(ctx, chromedp.Evaluate[bool](`console.log("end of test"), true`))
	return func(yield func(chromedp.ConsoleMessage, error) bool) {
		for m, err := range messages {
			if m.Text == "end of test" || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// withoutScript filters as a browser does that runs no JavaScript.
func withoutScript(t *testing.T, ctx context.Context) {
	server := httptest.NewServer(Handler(fill(t), Options{}))
	t.Cleanup(server.Close)
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.Navigate(server.URL), chromedp.WaitNotVisible(chromedp.CSS(".copy")),
		chromedp.SetValue(chromedp.CSS("#f-arch"), "arm64"), chromedp.Click(chromedp.CSS(".filters button")),
		chromedp.WaitNotPresent("//a[text()='centos-6']"))
	nodes, err := chromedp.Run(ctx, chromedp.Nodes(chromedp.CSSAll(".amis li")))
	if err != nil || len(nodes) != 2 {
		t.Errorf("%d AMIs, %v", len(nodes), err)
	}
}

// staticSite filters the export on a server that knows nothing of filters.
func staticSite(t *testing.T, ctx context.Context) {
	dir := t.TempDir()
	if _, err := Export(t.Context(), fill(t), Options{}, dir, false); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	do(t, ctx, chromedp.Navigate(server.URL), chromedp.WaitVisible(chromedp.CSS(".copy")))
	eval[bool](t, ctx, `(() => { const f = document.getElementById("f-region");
		f.value = "us-east-1"; f.dispatchEvent(new Event("change", {bubbles: true})); return true })()`)
	if got := eval[string](t, ctx, `[...document.querySelectorAll(".amis li")].filter((e) => e.checkVisibility()).map((e) => e.dataset.region).join()`); got != "us-east-1" {
		t.Errorf("it shows %q", got)
	}
	if got := eval[string](t, ctx, `document.querySelector(".count").textContent`); got != "1 AMI of 1 image" {
		t.Errorf("it says %q", got)
	}
}

// layout looks for what a person would see at once: a page wider than its window, text too pale. With
// INGOT_SCREENSHOTS=DIR it also saves pictures.
func layout(t *testing.T, ctx context.Context) {
	server := httptest.NewServer(Handler(fill(t), Options{}))
	t.Cleanup(server.Close)
	counting := performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks}
	if _, err := chromedp.Call(ctx, performance.Enable, counting); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{390, 1280} {
			for name, path := range map[string]string{"index": "/", "release": "/releases/debian-12-x86_64-20260115-abababababab"} {
				params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
				if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, params); err != nil {
					t.Fatal(err)
				}
				do(t, ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(server.URL+path), chromedp.WaitVisible(chromedp.CSS(".copy")))
				if cost := pageCost(t, ctx); cost <= 0 || cost > costLimit {
					t.Errorf("%s at %d px took %v of the processor's time", name, width, cost)
				}
				if got := eval[int64](t, ctx, "document.documentElement.scrollWidth"); got > width {
					t.Errorf("%s at %d px is %d px wide", name, width, got)
				}
				if (scheme == "light") == (width == 1280) { // each once
					if found := axe(t, ctx); len(found) > 0 {
						t.Errorf("%s, %s at %d px: %s", name, scheme, width, strings.Join(found, "\n"))
					}
				}
				for _, pale := range eval[[]string](t, ctx, contrast) {
					t.Errorf("%s, %s: %s", name, scheme, pale)
				}
				if dir := os.Getenv("INGOT_SCREENSHOTS"); dir != "" {
					picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
					if err != nil {
						t.Fatal(err)
					}
					file := filepath.Join(dir, name+"-"+scheme+"-"+map[int64]string{390: "phone", 1280: "desktop"}[width]+".png")
					if err := os.WriteFile(file, picture, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

// costLimit is how much of the processor's time a page may take, to be laid out and for its script: 0.08 s were measured, on a busy machine.
const costLimit = 500 * time.Millisecond

// pageCost returns how much time of the processor the page's main thread has taken since the page was opened, where that is counted.
func pageCost(t *testing.T, ctx context.Context) time.Duration {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	m, err := chromedp.Call(limited, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range m.Metrics {
		if x.Name == "TaskDuration" {
			return time.Duration(x.Value * float64(time.Second))
		}
	}
	t.Fatal("the browser does not say what the page took")
	return 0
}

// axe asks axe-core what on the page hinders people; nothing where it is not installed.
func axe(t *testing.T, ctx context.Context) []string {
	t.Helper()
	script, err := os.ReadFile(filepath.Join(nodeModules, "axe-core", "axe.min.js"))
	if err != nil {
		t.Logf("axe-core of npm is not installed, so accessibility is not checked: %v", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	// The page's policy lets no script of another in; the debugger does.
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[int](string(script)+"\n;0")); err != nil {
		t.Fatal(err)
	}
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`axe.run({resultTypes: ["violations"]}).then((r) => r.violations.map((v) =>
		v.id + " (" + v.impact + "): " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html).join(" | ")))`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// contrast lists the texts whose contrast ratio (WCAG 2.2, success criterion 1.4.3) is below 4.5.
const contrast = `(() => {
	const numbers = (c) => c.match(/[\d.]+/g).map(Number);
	const light = (c) => { const [r, g, b] = numbers(c).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b };
	const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
		if (numbers(c)[3] !== 0) return c } return "rgb(255, 255, 255)" };
	const found = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
		const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) found.add(e.tagName + "." + e.className + " has contrast " + ratio.toFixed(2));
	}
	return [...found];
})()`
