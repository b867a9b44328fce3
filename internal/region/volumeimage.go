package region

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"

	"ingot/internal/region/blocks"
)

// volumeImage is the content of a volume, as blocks of the store and as a raw image for a machine.
type volumeImage struct {
	store  *blocks.Store
	blocks map[int32]blocks.Sum
	size   int64  // bytes
	noise  string // not "": what was never written reads as noise, of this seed, as on an encrypted volume
}

func (v *volumeImage) release() {
	v.store.DropAll(maps.Values(v.blocks))
}

// blank fills buf with what block index reads as where it was never written.
func (v *volumeImage) blank(index int64, buf []byte) {
	if v.noise == "" {
		clear(buf)
		return
	}
	_, _ = rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%s %d", v.noise, index))).Read(buf) // it never fails
}

// write makes a raw image of the volume: a sparse file, unless there is noise to write. It is there whole or not at all.
func (v *volumeImage) write(ctx context.Context, path string) error {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	buf := make([]byte, blocks.Size)
	err = f.Truncate(v.size)
	for index := int64(0); index*blocks.Size < v.size && err == nil; index++ {
		sum, written := v.blocks[int32(index)]
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
			continue
		case written:
			err = v.store.Get(sum, buf)
		case v.noise != "":
			v.blank(index, buf)
		default:
			continue
		}
		if err == nil {
			_, err = f.WriteAt(buf, index*blocks.Size)
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(part)
		return err
	}
	return os.Rename(part, path)
}

// read stores what a machine has made of the raw image, and returns the blocks, each held once for the caller. What was never
// written, and reads as it did, stays unwritten.
func (v *volumeImage) read(ctx context.Context, path string) (after map[int32]blocks.Sum, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := min(v.size, info.Size()) // a volume that was made larger is so for its next machine
	after = map[int32]blocks.Sum{}
	defer func() {
		if err != nil {
			v.store.DropAll(maps.Values(after))
		}
	}()
	buf, blank := make([]byte, blocks.Size), make([]byte, blocks.Size)
	data := int64(0) // where the file holds something, from here on
	for index := int64(0); index*blocks.Size < size; index++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at := index * blocks.Size
		if data < at+blocks.Size {
			if data, err = nextData(f, max(at, data), size); err != nil {
				return nil, err
			}
		}
		old, written := v.blocks[int32(index)]
		hole := data >= at+blocks.Size
		if hole && !written && v.noise == "" {
			continue
		}
		clear(buf)
		if !hole {
			if _, err := f.ReadAt(buf, at); err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
		}
		if v.blank(index, blank); !written && bytes.Equal(buf, blank) {
			continue
		}
		sum := sha256.Sum256(buf)
		if written && sum == old {
			v.store.Hold(sum)
		} else if err := v.store.Put(sum, buf); err != nil {
			return nil, err
		}
		after[int32(index)] = sum
	}
	return after, nil
}

// nextData returns where a file holds something at or after an offset; the size where it does not.
func nextData(f *os.File, at, size int64) (int64, error) {
	next, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, nil
	case errors.Is(err, unix.EINVAL): // a filesystem that knows no holes
		return at, nil
	}
	return next, err
}
