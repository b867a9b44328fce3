package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// contest is a comparison: what we do, what a peer does instead, and what we aim at.
type contest struct {
	what, peer   string
	ours, theirs []sample
	ratio        float64       // aim: our median time at most this times the peer's; 0 for none
	limit        time.Duration // aim, where there is no peer
	memory       int64         // aim: our peak at most, in bytes; 0 for none

	size, peerSize int64   // of what we and the peer made, in bytes, where it matters
	growth         float64 // aim: our size at most this times the peer's
}

func head(w io.Writer) {
	fmt.Fprintln(w, "| | seconds: min | median | max | time, ratio | peak memory, MiB | memory, ratio | aim |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|---|")
}

func (c contest) write(w io.Writer) {
	wall := func(s sample) time.Duration { return s.wall }
	peak := func(s sample) int64 { return s.peak }
	time, memory, aim := "", "", ""
	ours := median(c.ours, wall)
	if len(c.theirs) > 0 {
		ratio := ours.Seconds() / median(c.theirs, wall).Seconds()
		time = fmt.Sprintf("%.2f", ratio)
		memory = fmt.Sprintf("%.2f", float64(median(c.ours, peak))/float64(median(c.theirs, peak)))
		if c.ratio > 0 {
			aim = fmt.Sprintf("≤ %.2f: %s", c.ratio, met(ratio <= c.ratio))
		}
	}
	if c.limit > 0 {
		aim = fmt.Sprintf("< %v: %s", c.limit, met(ours < c.limit))
	}
	if c.growth > 0 {
		ratio := float64(c.size) / float64(c.peerSize)
		aim += fmt.Sprintf("; size %.3f, ≤ %.2f: %s", ratio, c.growth, met(ratio <= c.growth))
	}
	if c.memory > 0 {
		aim += fmt.Sprintf("; ≤ %d MiB: %s", c.memory>>20, met(slices.MaxFunc(c.ours, byPeak).peak <= c.memory))
	}
	row := func(name string, all []sample, time, memory, aim string) {
		fmt.Fprintf(w, "| %s | %.2f | %.2f | %.2f | %s | %.0f | %s | %s |\n", name,
			slices.MinFunc(all, byWall).wall.Seconds(), median(all, wall).Seconds(), slices.MaxFunc(all, byWall).wall.Seconds(),
			time, float64(median(all, peak))/(1<<20), memory, aim)
	}
	row(c.what, c.ours, time, memory, strings.TrimPrefix(aim, "; "))
	if len(c.theirs) > 0 {
		row("– "+c.peer, c.theirs, "", "", "")
	}
}

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "missed"
}

func byWall(a, b sample) int { return cmp.Compare(a.wall, b.wall) }
func byPeak(a, b sample) int { return cmp.Compare(a.peak, b.peak) }

// median returns the middle value, the lower of two.
func median[S any, T cmp.Ordered](all []S, of func(S) T) T {
	values := make([]T, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// machine prints what the figures depend on.
func machine(ctx context.Context, w io.Writer, b *bench) error {
	var u unix.Utsname
	var si unix.Sysinfo_t
	var fs unix.Statfs_t
	if err := unix.Uname(&u); err != nil {
		return err
	}
	if err := unix.Sysinfo(&si); err != nil {
		return err
	}
	if err := unix.Statfs(b.dir, &fs); err != nil {
		return err
	}
	load := float64(si.Loads[0]) / 65536
	fmt.Fprintf(w, "%s, %d cores (%s), %.0f GiB of memory, Linux %s, %s; load when it began: %.1f.\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), processor(),
		float64(si.Totalram)*float64(si.Unit)/(1<<30), unix.ByteSliceToString(u.Release[:]), filesystem(fs.Type), load)
	if b.lock != nil {
		fmt.Fprintf(w, "%s of %s: %d packages, %.0f MB of .deb. ", b.recipe.Name, b.lock.Date.Format(time.DateOnly), len(b.lock.Packages), float64(b.bytes())/1e6)
	}
	fmt.Fprintf(w, "%d runs of each, in turns.\n", b.runs)
	var versions []string
	for _, args := range [][]string{{b.ingot, "version"}, {"mmdebstrap", "--version"}, {"mke2fs", "-V"}} {
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("asking %s for its version: %w", args[0], err)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		versions = append(versions, first)
	}
	fmt.Fprintf(w, "%s; %s.\n\n", strings.Join(versions, "; "), runtime.Version())
	return nil
}

// processor returns the processor's name.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}

func filesystem(magic int64) string {
	for name, m := range map[string]int64{"ext4": unix.EXT4_SUPER_MAGIC, "btrfs": unix.BTRFS_SUPER_MAGIC, "xfs": unix.XFS_SUPER_MAGIC,
		"tmpfs": unix.TMPFS_MAGIC, "overlayfs": unix.OVERLAYFS_SUPER_MAGIC} {
		if m == magic {
			return name
		}
	}
	return fmt.Sprintf("filesystem %#x", magic)
}
