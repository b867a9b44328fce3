package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"ingot/internal/disk"
	"ingot/internal/disk/ext4"
)

// figure is a ratio that has nothing to do with time.
type figure struct {
	what         string
	ours, theirs int64
	unit         string
	ratio        float64 // aim: ours at most this times theirs
}

func (f figure) write(w io.Writer) {
	ratio := float64(f.ours) / float64(f.theirs)
	aim := ""
	if f.ratio > 0 {
		aim = fmt.Sprintf(" (aim ≤ %.2f: %s)", f.ratio, met(ratio <= f.ratio))
	}
	fmt.Fprintf(w, "- %s: %d to %d %s, %.3f%s\n", f.what, f.ours, f.theirs, f.unit, ratio, aim)
}

// figures compares what the images have in them: ours of a whole disk with the blocks in its map, and mke2fs's.
func (b *bench) figures(ctx context.Context, whole string, blocks int64, mke2fs string) ([]figure, error) {
	var content, rounded int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(b.root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); !seen[st.Ino] {
			seen[st.Ino] = true
			content += st.Size
			rounded += (st.Size + ext4.BlockSize - 1) / ext4.BlockSize * ext4.BlockSize
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	written, err := hostBytes(whole)
	if err != nil {
		return nil, err
	}
	theirs, err := hostBytes(mke2fs)
	if err != nil {
		return nil, err
	}
	allocated, err := allocatedBlocks(ctx, mke2fs)
	if err != nil {
		return nil, err
	}
	return []figure{
		{"bytes written, whole disk, to content in whole filesystem blocks", written, rounded, "bytes", 1.03},
		{"bytes written, whole disk, to content", written, content, "bytes", 0},
		{"bytes written by mke2fs to content in whole filesystem blocks", theirs, rounded, "bytes", 0},
		{"blocks of 512 KiB in our map, to those with anything allocated by mke2fs", blocks, allocated, "blocks", 1},
	}, nil
}

// hostBytes returns how many bytes of its host a file takes.
func hostBytes(path string) (int64, error) {
	var st syscall.Stat_t
	err := syscall.Stat(path, &st)
	return st.Blocks * 512, err
}

// allocatedBlocks counts the blocks of a snapshot that are not all free, as dumpe2fs(8) tells it.
func allocatedBlocks(ctx context.Context, image string) (int64, error) {
	out, err := exec.CommandContext(ctx, "dumpe2fs", image).Output()
	if err != nil {
		return 0, fmt.Errorf("dumpe2fs: %w", err)
	}
	const each = disk.BlockSize / ext4.BlockSize
	free := map[int64]int64{}
	var count int64
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "Block count:"); ok {
			if count, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
				return 0, err
			}
		}
		text, ok := strings.CutPrefix(lines.Text(), "  Free blocks: ")
		if !ok {
			continue
		}
		for part := range strings.SplitSeq(text, ", ") {
			from, to, several := strings.Cut(part, "-")
			first, err := strconv.ParseInt(from, 10, 64)
			if err != nil {
				continue // a group without any
			}
			last := first
			if several {
				if last, err = strconv.ParseInt(to, 10, 64); err != nil {
					return 0, err
				}
			}
			for ; first <= last; first++ {
				free[first/each]++
			}
		}
	}
	allocated := (count + each - 1) / each
	for _, n := range free {
		if n == each {
			allocated--
		}
	}
	return allocated, lines.Err()
}
