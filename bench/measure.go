package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limit is how long one command may take; the slowest known takes two minutes.
const limit = 20 * time.Minute

// sampleEvery is the distance between two looks at a command's memory. A look costs about 2 ms of one core.
const sampleEvery = 100 * time.Millisecond

// sample is one measurement of a command.
type sample struct {
	wall time.Duration
	peak int64 // bytes
}

// measure runs a command, after everything that earlier ones wrote is on disk, and returns its output.
//
// Its peak memory is the largest sum of the resident memory of all its processes. (A control group would
// count the page cache of every file written, too, which is no need of the program's.) Pages that
// processes share count once for each. A peak between two looks is missed, but for that of the largest
// single process, which getrusage(2) tells.
func measure(ctx context.Context, args ...string) (s sample, out string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	unix.Sync()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return s, "", err
	}
	done, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- watch(cmd.Process.Pid, done) }()
	err = cmd.Wait()
	s.wall = time.Since(start)
	close(done)
	s.peak = <-peak
	if err != nil {
		return s, "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, tail(stderr.String(), 4000))
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.peak = max(s.peak, usage.Maxrss<<10)
	}
	return s, stdout.String(), nil
}

// watch returns the largest sum of resident memory of a process and its descendants until done.
func watch(pid int, done <-chan struct{}) (peak int64) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		peak = max(peak, resident(pid))
		select {
		case <-done:
			return peak
		case <-tick.C:
		}
	}
}

// resident returns the resident memory of a process and its descendants in bytes, as proc(5) tells it.
func resident(root int) int64 {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	pages := make(map[int]int64)
	children := make(map[int][]int)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// After the name, which stands in parentheses and may hold anything: the parent is the second
		// field, the resident pages are the 22nd.
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(f) < 22 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		pages[pid], _ = strconv.ParseInt(f[21], 10, 64)
		children[parent] = append(children[parent], pid)
	}
	var sum func(pid int) int64
	sum = func(pid int) int64 {
		n := pages[pid]
		for _, c := range children[pid] {
			n += sum(c)
		}
		return n
	}
	return sum(root) * int64(os.Getpagesize())
}

// tail returns at most the last n bytes of a text.
func tail(s string, n int) string { return s[max(0, len(s)-n):] }
