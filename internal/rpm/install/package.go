package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"ingot/internal/expand"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/rpm"
)

// pkg is a package to install, with all that has to be known of it but the content of its files.
type pkg struct {
	lock.Package
	info  *rpm.Package
	path  string // the expanded package
	files []file // as many as the header has, in its order
	// prefixes are where the package is, for one that could be somewhere else.
	prefixes []string
}

// file is what becomes of a file of a package.
type file struct {
	offset int64  // of a regular file's content in the expanded package; none for a file without any
	first  uint32 // the place of the file's first name in the package: its own, unless it is a hard link
	caps   []byte // the value of security.capability; nil for none
	skip   bool   // it is not written: a ghost, or shared
	shared bool   // another package's, which is the same, is there already
}

const none = -1

// openPackages expands and reads all packages, the largest first, and checks that they are what the lock says.
func (in *installer) openPackages(ctx context.Context) error {
	task := in.Task.Begin("expanding packages", int64(len(in.Lock.Packages)), progress.Items)
	for _, l := range in.Lock.Packages {
		in.pkgs = append(in.pkgs, &pkg{Package: l})
	}
	err := in.store.LoadAll(ctx, in.Jobs, in.Lock.Packages, in.File, func(i int) expand.Format { return in.pkgs[i] }, func(i int, file string) error {
		task.Add(1)
		p := in.pkgs[i]
		return p.Matches(file, p.info.Name, p.info.EVR.String(), p.info.Arch)
	})
	task.End(err)
	return err
}

// script returns the package's script of an event, or nil.
func (p *pkg) script(e rpm.Event) *rpm.Script {
	for i := range p.info.Scripts {
		if s := &p.info.Scripts[i]; s.Event == e {
			return s
		}
	}
	return nil
}

// seal ends an expanded package: its lead and headers as they were, the contents of its files one behind the other, and
// for each file of the header where its content is and which file has it first. Contents have the digests of the header.
const seal = expand.Seal("\ningot-sha256 ")

// entrySize is the size, in bytes, of what is written of a file.
const entrySize = 12

// Expand writes the expanded form of a package.
func (*pkg) Expand(ctx context.Context, w, r *os.File, _ int64) error {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var head bytes.Buffer
	p, err := rpm.Read(io.TeeReader(r, &head))
	if err != nil {
		return err
	}
	out := &counter{w: w, sum: sha256.New()}
	if _, err := out.Write(head.Bytes()); err != nil {
		return err
	}
	files, err := writeContents(ctx, out, p, r)
	if err != nil {
		return err
	}
	table := make([]byte, 0, len(files)*entrySize)
	for _, f := range files {
		table = binary.LittleEndian.AppendUint64(table, uint64(f.offset)) //nolint:gosec // none included
		table = binary.LittleEndian.AppendUint32(table, f.first)
	}
	if _, err := out.Write(table); err != nil {
		return err
	}
	_, err = w.Write(seal.Append(nil, out.sum))
	return err
}

// counter writes, sums up and counts.
type counter struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.sum.Write(b[:n])
	c.n += int64(n)
	return n, err
}

// writeContents writes the contents of a package's files, whose digests the payload's reader compares.
func writeContents(ctx context.Context, out *counter, p *rpm.Package, r io.Reader) ([]file, error) {
	payload, err := p.Payload(r)
	if err != nil {
		return nil, err
	}
	defer payload.Close()
	files := make([]file, len(p.Files))
	place := make(map[*rpm.File]int, len(files))
	for i := range files {
		files[i] = file{offset: none, first: uint32(i)} //nolint:gosec // bounded by rpm's reader
		place[&p.Files[i]] = i
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := payload.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if e.File.Mode&rpm.ModeType != rpm.ModeRegular {
			continue
		}
		at := out.n
		if _, err := io.CopyBuffer(struct{ io.Writer }{out}, payload, make([]byte, 256<<10)); err != nil {
			return nil, err
		}
		first := place[e.File]
		for _, l := range e.Links {
			first = min(first, place[l])
		}
		for _, l := range append(e.Links, e.File) {
			files[place[l]] = file{offset: at, first: uint32(first)} //nolint:gosec // as above
		}
	}
}

// Load reads an expanded package, and verifies its checksum first where it is asked to.
func (p *pkg) Load(name string, verify bool) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if verify {
		if err := seal.Check(f, st.Size(), 0); err != nil {
			return err
		}
	}
	info, err := rpm.Read(f)
	if err != nil {
		return err
	}
	table := make([]byte, len(info.Files)*entrySize)
	end := st.Size() - seal.Size() - int64(len(table))
	if _, err := f.ReadAt(table, end); err != nil {
		return err
	}
	files := make([]file, len(info.Files))
	for i := range files {
		h, t := &info.Files[i], table[i*entrySize:]
		files[i] = file{offset: int64(binary.LittleEndian.Uint64(t)), first: binary.LittleEndian.Uint32(t[8:])} //nolint:gosec // none included
		files[i].skip = h.Flags&rpm.FileGhost != 0
		if files[i].offset != none && (files[i].offset < 0 || h.Size > end-files[i].offset) || int(files[i].first) > i {
			return fault.Newf(fault.Input, "%s ends after the package", h.Path)
		}
		if strings.TrimSpace(h.Caps) != "" {
			if files[i].caps, err = parseCaps(h.Caps); err != nil {
				return fault.New(fault.Input, fmt.Errorf("capabilities of %s: %w", h.Path, err), "")
			}
		}
	}
	prefixes, err := info.Header.Strings(rpm.TagPrefixes)
	if err != nil {
		return err
	}
	*p = pkg{Package: p.Package, info: info, path: name, files: files, prefixes: prefixes}
	return nil
}
