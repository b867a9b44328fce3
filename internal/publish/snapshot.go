package publish

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/publish/retry"
)

const (
	// deadMan is how long AWS keeps a snapshot that nobody writes to, in minutes: what a killed run leaves
	// behind ends by itself, and a rerun within that time carries on.
	deadMan       = 15
	completeLimit = 30 * time.Minute // from the last block until the snapshot is completed
	pollFirst     = time.Second
	pollMost      = 5 * time.Second
	generations   = 5 // snapshots that may have failed under one name and content before we give up
)

// snapshot returns a completed snapshot of the image: one that is there, one that an earlier run began, or a
// new one.
func (j *job) snapshot(ctx context.Context) (string, error) {
	id, state, err := j.earlier(ctx)
	resumed := id != ""
	if err == nil && !resumed {
		id, state, err = j.start(ctx)
	}
	if err != nil {
		return "", err
	}
	if state == types.SnapshotStatePending {
		if err := j.fill(ctx, id, resumed); err != nil {
			return "", err
		}
	}
	return id, j.completed(ctx, id)
}

// earlier finds a snapshot of this image that an earlier run made or began; the furthest one.
func (j *job) earlier(ctx context.Context) (id string, state types.SnapshotState, err error) {
	var out *ec2.DescribeSnapshotsOutput
	err = retry.Call(ctx, "ec2:DescribeSnapshots", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = j.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{
			{Name: aws.String("tag:" + TagContent), Values: []string{j.content}},
			{Name: aws.String("tag:" + TagImage), Values: []string{j.Name}}}})
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("looking for the snapshot: %w", err)
	}
	for _, s := range out.Snapshots {
		if s.State == types.SnapshotStateCompleted || s.State == types.SnapshotStatePending && state == "" {
			id, state = aws.ToString(s.SnapshotId), s.State
		}
	}
	return id, state, nil
}

// start begins a snapshot. Its client token follows from what it is for, so that of two runs, or of two
// attempts whose replies were lost, only the first makes one. A token stays with its snapshot for ever; one
// whose snapshot has failed leads to the next generation.
func (j *job) start(ctx context.Context) (id string, state types.SnapshotState, err error) {
	in := &ebs.StartSnapshotInput{VolumeSize: &j.VolumeSize, Description: aws.String(j.Name), Timeout: aws.Int32(deadMan)}
	for k, v := range j.tags() {
		in.Tags = append(in.Tags, ebstypes.Tag{Key: &k, Value: &v})
	}
	for n := range generations {
		in.ClientToken = aws.String(j.token(n))
		var out *ebs.StartSnapshotOutput
		err = retry.Call(ctx, "ebs:StartSnapshot", retry.Policy{}, func(ctx context.Context) (err error) {
			out, err = j.ebs.StartSnapshot(ctx, in)
			return err
		})
		if retry.Code(err) == "ConflictException" { // another run, of other tags, has begun it
			if id, state, err = j.earlier(ctx); err != nil || id != "" {
				return id, state, err
			}
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("starting a snapshot: %w", err)
		}
		if out.Status != ebstypes.StatusError {
			return aws.ToString(out.SnapshotId), types.SnapshotState(out.Status), nil
		}
	}
	return "", "", fault.New(fault.Exists, fmt.Errorf("%d snapshots of %s have failed", generations, j.Name), "delete them, and run the same command again")
}

func (j *job) token(generation int) string {
	sum := sha256.Sum256([]byte(j.content + "\n" + j.region + "\n" + j.Name + "\n" + strconv.Itoa(generation)))
	return hex.EncodeToString(sum[:])
}

// fill sends all blocks and ends the snapshot. Blocks that an earlier run sent are sent again: EBS does not
// tell which there are until the snapshot is completed.
func (j *job) fill(ctx context.Context, id string, resumed bool) error {
	digest, count := j.Map.Digest(), int32(len(j.Map.Blocks))
	sum := base64.StdEncoding.EncodeToString(digest[:])
	err := j.upload(ctx, id)
	ended := resumed // it may have been: an earlier run, or an attempt whose reply was lost
	if err == nil {
		ended = true
		err = retry.Call(ctx, "ebs:CompleteSnapshot", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := j.ebs.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: &count, Checksum: &sum,
				ChecksumAlgorithm:         ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
				ChecksumAggregationMethod: ebstypes.ChecksumAggregationMethodChecksumAggregationLinear})
			return err
		})
	}
	if retry.Code(err) == "ValidationException" && ended && j.becameCompleted(ctx, id) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("filling snapshot %s: %w", id, err)
	}
	return nil
}

// becameCompleted says whether a snapshot that takes no more blocks is completed, or is so before long.
func (j *job) becameCompleted(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, retry.Settle/5)
	defer cancel()
	return j.completed(ctx, id) == nil
}

// completed waits until EC2 says that the snapshot is completed: only then can an image be made of it.
func (j *job) completed(ctx context.Context, id string) error {
	limit, cancel := context.WithTimeout(ctx, completeLimit)
	defer cancel()
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		var out *ec2.DescribeSnapshotsOutput
		err := retry.Call(limit, "ec2:DescribeSnapshots", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) (err error) {
			out, err = j.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
			return err
		})
		switch {
		case err != nil && limit.Err() == nil:
			return fmt.Errorf("waiting for snapshot %s: %w", id, err)
		case err == nil && len(out.Snapshots) > 0:
			switch s := out.Snapshots[0]; s.State {
			case types.SnapshotStateCompleted:
				return nil
			case types.SnapshotStateError:
				return fault.New(fault.Unreachable, fmt.Errorf("snapshot %s failed: %s", id, aws.ToString(s.StateMessage)),
					"run the same command again: it starts another one")
			}
		}
		if retry.Sleep(limit, pause) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fault.New(fault.Unreachable, fmt.Errorf("snapshot %s is not completed after %s", id, completeLimit), "run the same command again later")
		}
	}
}
