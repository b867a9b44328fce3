package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"ingot/internal/progress"
)

// The qcow2 format, version 3 (QEMU's docs/interop/qcow2.rst), with its usual parameters. Numbers are big-endian.
const (
	qcowClusterBits = 16
	qcowCluster     = 1 << qcowClusterBits
	qcowTable       = qcowCluster / 8 // entries of an L2 table
	qcowRefcounts   = qcowCluster / 2 // entries of a block of reference counts, of 16 bits each
	qcowCopied      = 1 << 63         // the cluster has one owner and may be written in place
	qcowHeader      = 104
)

// WriteQCOW2 writes an image as qcow2 to path, by way of path.tmp: the blocks of the map, without their zeros.
// The same image gives the same bytes. What fails leaves nothing behind.
func WriteQCOW2(ctx context.Context, path string, image io.ReaderAt, m *Map, task *progress.Task) (err error) {
	tmp := path + ".tmp"
	f, err := create(tmp, 0)
	if err != nil {
		return fmt.Errorf("writing qcow2 %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing qcow2 %s: %w", path, errors.Join(err, os.Remove(tmp)))
		}
		err = errors.Join(err, f.Close())
	}()
	task.Grow(m.Bytes())
	q := &qcow{w: f, end: 1, l2: map[int64][]uint64{}}
	buf := make([]byte, BlockSize)
	for _, b := range m.Blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.ReadBlock(image, b.Index, buf); err != nil {
			return err
		}
		if err := q.put(int64(b.Index)*BlockSize/qcowCluster, buf); err != nil {
			return err
		}
		task.Add(BlockSize)
	}
	if err := q.finish(m.Size); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// qcow is an image that is being written: clusters one after the other, and what says where they are at the end.
type qcow struct {
	w   io.WriterAt
	end int64              // clusters used; the first is the header's
	l2  map[int64][]uint64 // by index in the L1 table
}

// put writes clusters of the disk from a number on, but those of zeros.
func (q *qcow) put(guest int64, p []byte) error {
	for ; len(p) > 0; p, guest = p[qcowCluster:], guest+1 {
		if isZero(p[:qcowCluster]) {
			continue
		}
		at, err := q.append(p[:qcowCluster])
		if err != nil {
			return err
		}
		table := q.l2[guest/qcowTable]
		if table == nil {
			table = make([]uint64, qcowTable)
			q.l2[guest/qcowTable] = table
		}
		table[guest%qcowTable] = uint64(at) | qcowCopied
	}
	return nil
}

// append writes p into new clusters, and returns its offset.
func (q *qcow) append(p []byte) (int64, error) {
	at := q.end * qcowCluster
	padded := make([]byte, roundUp(int64(len(p)), qcowCluster)-int64(len(p)))
	if _, err := q.w.WriteAt(append(p[:len(p):len(p)], padded...), at); err != nil {
		return 0, err
	}
	q.end += roundUp(int64(len(p)), qcowCluster) / qcowCluster
	return at, nil
}

// appendTable writes a table of numbers into new clusters, and returns its offset.
func (q *qcow) appendTable(entries []uint64) (int64, error) {
	p := make([]byte, 0, 8*len(entries))
	for _, e := range entries {
		p = binary.BigEndian.AppendUint64(p, e)
	}
	return q.append(p)
}

// finish writes the tables and then the header, without which the file is no image.
func (q *qcow) finish(size int64) error {
	l1 := make([]uint64, roundUp(size, qcowCluster*qcowTable)/(qcowCluster*qcowTable))
	for i := range l1 {
		if table := q.l2[int64(i)]; table != nil {
			at, err := q.appendTable(table)
			if err != nil {
				return err
			}
			l1[i] = uint64(at) | qcowCopied
		}
	}
	l1At, err := q.appendTable(l1)
	if err != nil {
		return err
	}
	// The reference counts count their own blocks and the table of those: add until they suffice.
	var blocks, tables int64
	for total := int64(-1); total != q.end+blocks+tables; {
		total = q.end + blocks + tables
		blocks = roundUp(total, qcowRefcounts) / qcowRefcounts
		tables = roundUp(8*blocks, qcowCluster) / qcowCluster
	}
	used := q.end + blocks + tables
	refcounts := make([]uint64, blocks)
	for i := range refcounts {
		p := make([]byte, qcowCluster)
		for j := int64(i) * qcowRefcounts; j < min(used, int64(i+1)*qcowRefcounts); j++ {
			binary.BigEndian.PutUint16(p[2*(j%qcowRefcounts):], 1)
		}
		at, err := q.append(p)
		if err != nil {
			return err
		}
		refcounts[i] = uint64(at)
	}
	refcountsAt, err := q.appendTable(refcounts)
	if err != nil {
		return err
	}
	h := make([]byte, qcowCluster)
	copy(h, "QFI\xfb")
	binary.BigEndian.PutUint32(h[4:], 3) // version
	binary.BigEndian.PutUint32(h[20:], qcowClusterBits)
	binary.BigEndian.PutUint64(h[24:], uint64(size))
	binary.BigEndian.PutUint32(h[36:], uint32(len(l1)))
	binary.BigEndian.PutUint64(h[40:], uint64(l1At))
	binary.BigEndian.PutUint64(h[48:], uint64(refcountsAt))
	binary.BigEndian.PutUint32(h[56:], uint32(tables))
	binary.BigEndian.PutUint32(h[96:], 4) // reference counts have 1<<4 bits
	binary.BigEndian.PutUint32(h[100:], qcowHeader)
	_, err = q.w.WriteAt(h, 0)
	return err
}
