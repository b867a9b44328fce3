// Package verify boots an image and judges what it does: the stages it passes, what its console says, and
// whether a user who logs in finds the machine in order.
//
// What is judged is data: the console rules in rules.go, the checks inside the guest in checks.go.
package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"ingot/internal/machine"
	"ingot/internal/recipe"
)

// Files of a verdict, in Options.Dir.
const (
	VerdictFile    = "verdict.json"
	ConsoleFile    = "console.log"    // raw, as the guest printed it
	StalledFile    = "stalled.log"    // the console of the boot that this verdict's boot took the place of
	ScreenshotFile = "screenshot.png" // of a boot that failed
	StateFile      = "machine.json"   // while a machine is kept
)

// Verdict is what an image did when it booted. Its JSON has the same members for every boot.
type Verdict struct {
	Name       string          `json:"name"`
	Passed     bool            `json:"passed"`
	Reason     string          `json:"reason"` // why it did not pass
	Image      string          `json:"image"`  // file name
	SHA256     string          `json:"sha256"` // of the image, hex
	Arch       string          `json:"arch"`
	Firmware   recipe.Firmware `json:"firmware"`
	Bus        string          `json:"bus"`
	Accel      machine.Accel   `json:"accel"`
	Memory     int64           `json:"memory"`   // bytes
	DiskSize   int64           `json:"diskSize"` // bytes that the guest saw
	Started    time.Time       `json:"started"`
	Seconds    float64         `json:"seconds"` // the whole test, shutdown included
	Stages     []Stage         `json:"stages"`
	Checks     []Check         `json:"checks"`
	Findings   []Finding       `json:"findings"`
	HostKey    string          `json:"hostKey"`    // fingerprint of the SSH host key that was met
	Console    string          `json:"console"`    // file name beside the verdict
	Screenshot string          `json:"screenshot"` // the same; "" where none was taken
	Stalled    string          `json:"stalled"`    // the reason of a first boot's failure that told nothing of the image; "" where this is the first

	kept *kept
}

// Stage is a station of the boot.
type Stage struct {
	Name string  `json:"name"`
	Seen bool    `json:"seen"`
	At   float64 `json:"at"` // seconds since the machine started
}

// Check is something looked at inside the guest.
type Check struct {
	Name    string  `json:"name"`
	Passed  bool    `json:"passed"`
	Skipped bool    `json:"skipped"` // it does not apply to this guest, or may fail
	Detail  string  `json:"detail"`
	Seconds float64 `json:"seconds"`
}

// Finding is a line that broke a rule.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Allowed  bool     `json:"allowed"` // the recipe lets the image break this rule
	Meaning  string   `json:"meaning"`
	Line     string   `json:"line"`
	Source   Scope    `json:"source"` // console, or any for the guest's own log
	At       float64  `json:"at"`     // seconds since the machine started
}

// seconds rounds a duration to what is worth telling.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// write saves the verdict beside its console.
func (v *Verdict) write(dir string) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, VerdictFile), append(data, '\n'), 0o644, renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("writing the verdict: %w", err)
	}
	return nil
}

// Read returns the verdict saved in a folder.
func Read(dir string) (*Verdict, error) {
	data, err := os.ReadFile(filepath.Join(dir, VerdictFile))
	if err != nil {
		return nil, err
	}
	v := new(Verdict)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("reading the verdict in %s: %w", dir, err)
	}
	return v, nil
}

// Wait holds a machine that was kept (Options.Keep) until it powers off or the context ends, and then
// clears it away. Whoever asks for a machine to be kept must call it. Without a kept machine it returns at
// once.
func (v *Verdict) Wait(ctx context.Context) error {
	if v.kept == nil {
		return nil
	}
	return v.kept.wait(ctx)
}
