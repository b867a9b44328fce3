package check

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"golang.org/x/sync/errgroup"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

// inFlight is how many blocks are read at once from a region.
const inFlight = 16

// blocks compares the blocks of a snapshot with the map: that every one is there, and what is in some of them, which are other
// ones each time. A snapshot may have more, of the one that it was based on.
func (c *Checker) blocks(ctx context.Context, w *Wanted, seen *Seen, snapshot string) ([]Finding, error) {
	client := EBS(ebs.NewFromConfig(c.Clients.Config(seen.Region)))
	tokens, err := list(ctx, client, snapshot)
	if retry.Code(err) == "ValidationException" { // EBS direct does not read public snapshots
		seen.Note = fmt.Sprintf("the blocks cannot be read: %v", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	differ := func(what, want, got string) Finding {
		return Finding{Region: seen.Region, ImageID: seen.ImageID, What: what, Want: want, Got: got}
	}
	var missing []string
	for _, b := range w.Map.Blocks {
		if tokens[b.Index] == "" {
			missing = append(missing, fmt.Sprint(b.Index))
		} else {
			seen.Blocks++
		}
	}
	var found []Finding
	if len(missing) > 0 {
		found = append(found, differ("blocks of "+snapshot, fmt.Sprintf("the %d of the block map", len(w.Map.Blocks)), fmt.Sprintf("%d are missing, the first is %s", len(missing), missing[0])))
	}
	sample := slices.Clone(w.Map.Blocks)
	rand.Shuffle(len(sample), func(a, b int) { sample[a], sample[b] = sample[b], sample[a] })
	if c.Sample > 0 {
		sample = sample[:min(c.Sample, len(sample))]
	}
	sample = slices.DeleteFunc(sample, func(b disk.Block) bool { return tokens[b.Index] == "" })
	same := make([]bool, len(sample))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(inFlight)
	for n, b := range sample {
		g.Go(func() error {
			sum, err := read(ctx, client, snapshot, b.Index, tokens[b.Index])
			same[n] = err == nil && sum == b.SHA256
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return found, err
	}
	seen.Sampled = len(sample)
	for n, b := range sample {
		if !same[n] {
			found = append(found, differ(fmt.Sprintf("block %d of %s", b.Index, snapshot), fmt.Sprintf("%x", b.SHA256), "other bytes"))
		}
	}
	return found, nil
}

// list returns the token of each block that a snapshot has.
func list(ctx context.Context, client EBS, snapshot string) (map[int32]string, error) {
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

// read returns the digest of a block.
func read(ctx context.Context, client EBS, snapshot string, index int32, token string) (sum [sha256.Size]byte, err error) {
	err = retry.Call(ctx, "ebs:GetSnapshotBlock", retry.Policy{}, func(ctx context.Context) error {
		out, err := client.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: &snapshot, BlockIndex: &index, BlockToken: &token})
		if err != nil {
			return err
		}
		defer out.BlockData.Close()
		h := sha256.New()
		n, err := io.Copy(h, io.LimitReader(out.BlockData, disk.BlockSize+1))
		if err == nil && n != disk.BlockSize {
			err = fault.Newf(fault.Unreachable, "the block has %d bytes", n)
		}
		copy(sum[:], h.Sum(nil))
		return err
	})
	if err != nil {
		return sum, fmt.Errorf("reading block %d of %s: %w", index, snapshot, err)
	}
	return sum, nil
}
