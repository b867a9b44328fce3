// Package readback reads snapshots through the EBS direct APIs.
package readback

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

// EBS are the calls that reading makes to the EBS direct APIs, each a permission that it needs.
type EBS interface {
	ListSnapshotBlocks(context.Context, *ebs.ListSnapshotBlocksInput, ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error)
	GetSnapshotBlock(context.Context, *ebs.GetSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.GetSnapshotBlockOutput, error)
}

// List returns the token of each block that a completed snapshot has, by its index.
func List(ctx context.Context, client EBS, snapshot string) (map[int32]string, error) {
	tokens := map[int32]string{}
	err := inventory.Pages(ctx, "ebs:ListSnapshotBlocks", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
		out, err := client.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &snapshot, NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, b := range out.Blocks {
			tokens[aws.ToInt32(b.BlockIndex)] = aws.ToString(b.BlockToken)
		}
		return out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the blocks of %s: %w", snapshot, err)
	}
	return tokens, nil
}

// Read returns a block, of disk.BlockSize bytes.
func Read(ctx context.Context, client EBS, snapshot string, index int32, token string) (data []byte, err error) {
	err = retry.Call(ctx, "ebs:GetSnapshotBlock", retry.Policy{}, func(ctx context.Context) error {
		out, err := client.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: &snapshot, BlockIndex: &index, BlockToken: &token})
		if err != nil {
			return err
		}
		defer out.BlockData.Close()
		data, err = io.ReadAll(io.LimitReader(out.BlockData, disk.BlockSize+1))
		if err == nil && len(data) != disk.BlockSize {
			err = fault.Newf(fault.Unreachable, "the block has %d bytes", len(data))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading block %d of %s: %w", index, snapshot, err)
	}
	return data, nil
}

// Reader reads a snapshot as a disk. Blocks that it does not have are zeros. It is for one goroutine, that reads on from where it was.
type Reader struct {
	ctx      context.Context
	client   EBS
	snapshot string
	tokens   map[int32]string
	at       int32 // the block in data; -1: none
	data     []byte
}

// NewReader returns a Reader for a snapshot whose blocks were listed.
func NewReader(ctx context.Context, client EBS, snapshot string, tokens map[int32]string) *Reader {
	return &Reader{ctx: ctx, client: client, snapshot: snapshot, tokens: tokens, at: -1}
}

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		index, within := int32((off+int64(n))/disk.BlockSize), (off+int64(n))%disk.BlockSize
		if r.tokens[index] == "" {
			m := min(len(p)-n, int(disk.BlockSize-within))
			clear(p[n : n+m])
			n += m
			continue
		}
		if r.at != index {
			if r.data, err = Read(r.ctx, r.client, r.snapshot, index, r.tokens[index]); err != nil {
				return n, err
			}
			r.at = index
		}
		n += copy(p[n:], r.data[within:])
	}
	return n, nil
}
