package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// Extent is a run of bytes of an image.
type Extent struct{ Offset, Length int64 }

// Image is a raw disk image to be bundled.
type Image struct {
	io.ReaderAt
	Size int64 // bytes
	// Data lists what of the image is not a hole, in order. Holes read as zeros and take no room in the bundle.
	// An image without holes has one extent. Offsets and lengths are multiples of 512, but for the image's end.
	Data []Extent
}

// maxExtents bounds the memory for maps. An image with more holes than this is bundled as if it had none.
const maxExtents = 1 << 19

// OpenImage opens the raw image in a file, or on a block device. Holes are what the filesystem says they are, as
// for tar --sparse. The caller closes the file.
func OpenImage(path string) (*Image, *os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the image to bundle: %w", err)
	}
	image, err := scan(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("opening the image %s to bundle: %w", path, err)
	}
	return image, f, nil
}

func scan(f *os.File) (*Image, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if device := info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0; !device && !info.Mode().IsRegular() {
		return nil, fault.Newf(fault.Input, "it is neither a file nor a block device")
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	i := &Image{ReaderAt: f, Size: size}
	for at := int64(0); at < size; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // a hole up to the end
			break
		}
		end := int64(0)
		if err == nil {
			end, err = f.Seek(start, unix.SEEK_HOLE)
		}
		if err != nil || end <= start || len(i.Data) == maxExtents { // no such map, or none of use
			i.Data = []Extent{{0, size}}
			break
		}
		i.Data = append(i.Data, Extent{start, end - start})
		at = end
	}
	return i, nil
}

// Stored returns how many bytes of the image are not holes.
func (i *Image) Stored() (n int64) {
	for _, e := range i.Data {
		n += e.Length
	}
	return n
}

// check tells what of an image cannot be bundled.
func (i *Image) check() error {
	switch {
	case i.Size <= 0:
		return fault.Newf(fault.Input, "the image is empty")
	case i.Size > MaxImageSize:
		return fault.New(fault.Input, fmt.Errorf("the image has %d bytes; EC2 starts at most %d (10 GiB) from instance store", i.Size, int64(MaxImageSize)),
			"make the disk smaller, or publish it as an EBS-backed AMI")
	case len(i.Data) > maxExtents:
		return fault.Newf(fault.Input, "the image has %d extents; more than %d are refused", len(i.Data), maxExtents)
	}
	at := int64(0)
	for _, e := range i.Data {
		end := e.Offset + e.Length
		if e.Offset < at || e.Length <= 0 || end > i.Size || e.Offset%512 != 0 || (end%512 != 0 && end != i.Size) {
			return fault.Newf(fault.Bug, "the image's map has the extent %d+%d, which is out of order, out of bounds or not in sectors", e.Offset, e.Length)
		}
		at = end
	}
	return nil
}
