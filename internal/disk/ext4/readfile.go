package ext4

import (
	"errors"
	"io"
	"sort"
)

// file is an open regular file. It implements io.ReaderAt and DataSeeker, too.
type file struct {
	f       *FS
	size    int64
	extents []extent
	inline  []byte // all of it, if it is within the inode
	pos     int64
}

func (f *FS) file(n *inode) (*file, error) {
	r := &file{f: f, size: n.size}
	var err error
	if n.flags&inodeInlineData != 0 {
		r.inline, err = f.inlineData(n)
	} else {
		r.extents, err = f.extents(n)
	}
	return r, err
}

// at returns the index of the first extent that ends beyond off.
func (r *file) at(off int64) int {
	block := off / r.f.blockSize
	return sort.Search(len(r.extents), func(i int) bool { return r.extents[i].logical+r.extents[i].n > block })
}

func (r *file) ReadAt(b []byte, off int64) (done int, err error) {
	if off < 0 {
		return 0, errors.New("ext4: reading before the start of a file")
	}
	if r.inline != nil {
		if done = copy(b, r.inline[min(off, r.size):]); done < len(b) {
			err = io.EOF
		}
		return done, err
	}
	for i := r.at(off); done < len(b) && off < r.size; {
		rest := b[done:min(int64(len(b)), int64(done)+r.size-off)]
		if i == len(r.extents) {
			clear(rest)
			done += len(rest)
			break
		}
		e := r.extents[i]
		start, end := e.logical*r.f.blockSize, (e.logical+e.n)*r.f.blockSize
		if off < start {
			rest = rest[:min(int64(len(rest)), start-off)]
			clear(rest)
		} else {
			rest = rest[:min(int64(len(rest)), end-off)]
			if err := r.f.readAt(rest, e.start*r.f.blockSize+off-start); err != nil {
				return done, err
			}
			if off+int64(len(rest)) == end {
				i++
			}
		}
		off, done = off+int64(len(rest)), done+len(rest)
	}
	if done < len(b) {
		err = io.EOF
	}
	return done, err
}

func (r *file) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := r.ReadAt(b, r.pos)
	r.pos += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// SeekData implements DataSeeker.
func (r *file) SeekData(off int64) (int64, error) {
	if r.inline != nil && off < r.size {
		return off, nil
	}
	i := r.at(off)
	if i == len(r.extents) || off >= r.size {
		return 0, io.EOF
	}
	return max(off, r.extents[i].logical*r.f.blockSize), nil
}

func (r *file) Close() error { return nil }
