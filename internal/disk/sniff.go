package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"ingot/internal/fault"
)

// signatures of files that are taken for raw images, and are none.
var signatures = []struct {
	at     int64 // before 0: from the end
	magic  string
	format string
	qemu   string // what qemu-img calls it; "" where it cannot convert it
}{
	{0, "QFI\xfb", "a qcow2 image", "qcow2"},
	{0, "KDMV", "a VMDK image", "vmdk"},
	{0, "COWD", "a VMDK image", "vmdk"},
	{0, "# Disk DescriptorFile", "a VMDK descriptor", "vmdk"},
	{0, "vhdxfile", "a VHDX image", "vhdx"},
	{0, "conectix", "a VHD image", "vpc"},
	{-512, "conectix", "a VHD image", "vpc"},
	{0x40, "\x7f\x10\xda\xbe", "a VDI image", "vdi"},
	{0, "\x1f\x8b\x08", "compressed by gzip", ""},
	{0, "\xfd7zXZ\x00", "compressed by xz", ""},
	{0, "\x28\xb5\x2f\xfd", "compressed by zstd", ""},
	{0, "BZh", "compressed by bzip2", ""},
	{0, "PK\x03\x04", "a zip archive", ""},
	{257, "ustar", "a tar archive", ""},
}

// Sniff refuses a file that is not a raw image: as a snapshot it would be a broken disk, and nobody would
// notice before the first launch.
func Sniff(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("looking at image: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // a block device's size, too
	if err != nil {
		return fmt.Errorf("looking at image %s: %w", path, err)
	}
	for _, s := range signatures {
		at := s.at
		if at < 0 {
			at += size
		}
		buf := make([]byte, len(s.magic))
		if at < 0 || at+int64(len(buf)) > size {
			continue
		}
		if _, err := f.ReadAt(buf, at); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("looking at image %s: %w", path, err)
		}
		if !bytes.Equal(buf, []byte(s.magic)) {
			continue
		}
		hint := "decompress or unpack it first"
		if s.qemu != "" {
			hint = fmt.Sprintf("convert it first: qemu-img convert -f %s -O raw %s %s.raw", s.qemu, path, path)
		}
		return fault.New(fault.Input, fmt.Errorf("%s is %s, not a raw disk image", path, s.format), hint)
	}
	if size == 0 || size%SectorSize != 0 {
		return fault.New(fault.Input, fmt.Errorf("%s has %d bytes, which is no whole number of sectors", path, size), "the image may have been cut short")
	}
	return nil
}
