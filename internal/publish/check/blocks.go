package check

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"golang.org/x/sync/errgroup"

	"ingot/internal/disk"
	"ingot/internal/publish/readback"
	"ingot/internal/publish/retry"
)

// inFlight is how many blocks are read at once from a region.
const inFlight = 16

// blocks compares the blocks of a snapshot with the map: that every one is there, and what is in some of them, which are other
// ones each time. A snapshot may have more, of the one that it was based on.
func (c *Checker) blocks(ctx context.Context, w *Wanted, seen *Seen, snapshot string) ([]Finding, error) {
	client := readback.EBS(ebs.NewFromConfig(c.Clients.Config(seen.Region)))
	tokens, err := readback.List(ctx, client, snapshot)
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
			data, err := readback.Read(ctx, client, snapshot, b.Index, tokens[b.Index])
			same[n] = err == nil && sha256.Sum256(data) == b.SHA256
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
