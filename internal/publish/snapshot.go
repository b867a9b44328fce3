package publish

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
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

// snapshot is a snapshot in the making.
type snapshot struct {
	key   ledger.Key
	id    string
	state types.SnapshotState
	base  *base // nil: none
	again bool  // an earlier run began it
	lost  bool  // an earlier run began it, by a request that cannot be made again
}

// snapshot returns a completed snapshot of the image: one that is there, one that an earlier run began, or a
// new one.
func (j *job) snapshot(ctx context.Context) (*snapshot, error) {
	s, err := j.begin(ctx)
	if err != nil {
		return nil, err
	}
	if s.state == types.SnapshotStatePending {
		if err := j.fill(ctx, s); err != nil {
			return s, err
		}
	}
	return s, j.completed(ctx, s)
}

// outlook is what next has seen so far.
type outlook struct {
	looked, refused bool
	parent          *base
}

// next returns the snapshot that a generation's token is for. It is nil if that is gone; has an id if the ledger does not know
// it, but EBS does; and is otherwise to be started, or started again. It changes nothing.
func (j *job) next(ctx context.Context, generation int, o *outlook) (*snapshot, error) {
	s := &snapshot{key: j.key(ledger.Snapshot, j.token(generation))}
	was, known, err := j.Ledger.Find(ctx, s.key)
	switch {
	case err != nil:
		return nil, err
	case known && was.State == ledger.Gone:
		return nil, nil
	case known:
		if s.again = true; was.Parent == "" {
			return s, nil
		}
		if s.base, err = j.named(ctx, was.Parent); err != nil || s.base != nil {
			return s, err
		}
		s.lost = true
		if found, err := j.earlier(ctx, s.key); found != nil || err != nil {
			return found, err
		}
		return s, nil
	case !o.looked:
		o.looked = true
		if found, err := j.earlier(ctx, s.key); found != nil || err != nil {
			return found, err
		}
		if o.parent, err = j.base(ctx); err != nil {
			return nil, err
		}
	}
	if !o.refused {
		s.base = o.parent
	}
	return s, nil
}

// begin finds the snapshot, or starts it. Its client token follows from what it is for, so that of two runs, or of two
// attempts whose replies were lost, only the first makes one. A token stays with its snapshot for ever; one whose
// snapshot has failed, or was deleted, leads to the next generation.
func (j *job) begin(ctx context.Context) (*snapshot, error) {
	var o outlook
	for n := range generations {
		s, err := j.next(ctx, n, &o)
		switch {
		case err != nil:
			return nil, err
		case s == nil:
			continue
		case s.id != "":
			return s, j.adopt(ctx, s)
		case !s.lost:
			if err = j.start(ctx, s); err == nil {
				return s, nil
			}
		}
		switch code := retry.Code(err); {
		case s.lost, errors.Is(err, errFailed):
		case code == "ConflictException": // another run, of other tags, has begun it
			if found, err := j.earlierSoon(ctx, s.key); found != nil || err != nil {
				return found, err
			}
		case s.base != nil && slices.Contains([]string{"ValidationException", "ResourceNotFoundException"}, code):
			j.task.Logf("%s cannot be a parent (%v): all blocks are sent", s.base.id, err)
			o.refused = true
		default:
			return nil, fmt.Errorf("starting a snapshot: %w", err)
		}
		if err := j.Ledger.Gone(ctx, s.key); err != nil {
			return nil, err
		}
	}
	return nil, fault.New(fault.Exists, fmt.Errorf("%d snapshots of %s have failed", generations, j.Name), "delete them, and run the same command again")
}

// errFailed says that a token belongs to a snapshot that failed.
var errFailed = errors.New("the snapshot has failed")

// start writes a snapshot down and starts it. Of one that an earlier run wrote down it makes the same request again.
func (j *job) start(ctx context.Context, s *snapshot) error {
	e := j.entry(s.key)
	if s.base != nil {
		e.Parent = s.base.id
	}
	was, err := j.Ledger.Intend(ctx, e)
	if err != nil {
		return err
	}
	in := &ebs.StartSnapshotInput{VolumeSize: &j.VolumeSize, Description: aws.String(j.Name), Timeout: aws.Int32(deadMan), ClientToken: &s.key.Name}
	switch {
	case s.base != nil:
		in.ParentSnapshotId = &s.base.id
	case j.Encrypt:
		in.Encrypted = aws.Bool(true)
		if key := j.Keys[j.region]; key != "" {
			in.KmsKeyArn = &key
		}
	}
	for _, t := range tagList(j.tags(was)) {
		in.Tags = append(in.Tags, ebstypes.Tag{Key: t.Key, Value: t.Value})
	}
	var out *ebs.StartSnapshotOutput
	err = retry.Call(ctx, "ebs:StartSnapshot", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = j.ebs.StartSnapshot(ctx, in)
		return err
	})
	switch {
	case err != nil:
		return err
	case out.Status == ebstypes.StatusError:
		return errFailed
	case out.KmsKeyArn != nil && j.Public:
		return fault.New(fault.Input, fmt.Errorf("the account encrypts new snapshots in %s, and an encrypted image cannot be public", j.region),
			"switch encryption by default off there, or leave the image private")
	}
	s.id, s.state = aws.ToString(out.SnapshotId), types.SnapshotState(out.Status)
	return j.Ledger.Made(ctx, s.key, s.id)
}

// earlierSoon is earlier with some patience.
func (j *job) earlierSoon(ctx context.Context, k ledger.Key, more ...types.Filter) (*snapshot, error) {
	for pause := pollFirst; pause < 16*time.Second; pause *= 2 {
		s, err := j.earlier(ctx, k, more...)
		if err != nil {
			return nil, err
		}
		if s != nil {
			return s, j.adopt(ctx, s)
		}
		if err := retry.Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// earlier finds a snapshot of this image that the ledger does not have: another machine made or began it. Of one that
// is half done the base must be known here, since it decides which blocks are missing. more are further filters.
func (j *job) earlier(ctx context.Context, k ledger.Key, more ...types.Filter) (best *snapshot, err error) {
	all, err := j.snapshots(ctx, append(more, inventory.Filter("tag:"+TagContent, j.content), inventory.Filter("tag:"+TagImage, j.Name))...)
	if err != nil {
		return nil, fmt.Errorf("looking for the snapshot: %w", err)
	}
	for _, found := range all {
		s := &snapshot{key: k, id: aws.ToString(found.SnapshotId), state: found.State, again: true}
		switch parent := inventory.Tag(found.Tags, TagParent); {
		case slices.Contains(j.spoiled, s.id), j.Encrypt && !aws.ToBool(found.Encrypted): // it is not what is asked for now
		case found.State == types.SnapshotStateCompleted:
			best = s
		case found.State != types.SnapshotStatePending || best != nil:
		case parent == "":
			best = s
		default:
			if s.base, err = j.named(ctx, parent); err != nil {
				return nil, err
			}
			if s.base != nil {
				best = s
			}
		}
	}
	return best, nil
}

// adopt writes down a snapshot that the ledger did not know.
func (j *job) adopt(ctx context.Context, s *snapshot) error {
	if _, err := j.Ledger.Intend(ctx, j.entry(s.key)); err != nil {
		return err
	}
	return j.Ledger.Made(ctx, s.key, s.id)
}

func (j *job) token(generation int) string {
	sum := sha256.Sum256([]byte(j.content + "\n" + j.region + "\n" + j.Name + "\n" + strconv.Itoa(generation)))
	return hex.EncodeToString(sum[:])
}

// fill sends the blocks and ends the snapshot. Blocks that an earlier run sent are sent again: EBS does not
// tell which there are until the snapshot is completed.
func (j *job) fill(ctx context.Context, s *snapshot) error {
	blocks := s.base.blocks(j.Map)
	j.task.Grow(int64(len(blocks)) * disk.BlockSize)
	digest, count := (&disk.Map{Blocks: blocks}).Digest(), int32(len(blocks))
	sum := base64.StdEncoding.EncodeToString(digest[:])
	err := j.upload(ctx, s.id, blocks)
	ended := s.again // it may have been: an earlier run, or an attempt whose reply was lost
	if err == nil {
		ended = true
		err = retry.Call(ctx, "ebs:CompleteSnapshot", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := j.ebs.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: &s.id, ChangedBlocksCount: &count, Checksum: &sum,
				ChecksumAlgorithm:         ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
				ChecksumAggregationMethod: ebstypes.ChecksumAggregationMethodChecksumAggregationLinear})
			return err
		})
	}
	if retry.Code(err) == "ValidationException" && ended && j.becameCompleted(ctx, s) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("filling snapshot %s: %w", s.id, j.forget(ctx, s, err))
	}
	return nil
}

// forget has the next run take a new token if the error says that this one's snapshot does not exist any more.
func (j *job) forget(ctx context.Context, s *snapshot, err error) error {
	if code := retry.Code(err); code == "ResourceNotFoundException" || code == "InvalidSnapshot.NotFound" {
		return errors.Join(err, j.Ledger.Gone(ctx, s.key))
	}
	return err
}

// becameCompleted says whether a snapshot that takes no more blocks is completed, or is so before long.
func (j *job) becameCompleted(ctx context.Context, s *snapshot) bool {
	ctx, cancel := context.WithTimeout(ctx, retry.Settle/5)
	defer cancel()
	return j.completed(ctx, s) == nil
}

// completed waits until EC2 says that the snapshot is completed: only then can an image be made of it.
func (j *job) completed(ctx context.Context, s *snapshot) error {
	limit, cancel := context.WithTimeout(ctx, completeLimit)
	defer cancel()
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		var out *ec2.DescribeSnapshotsOutput
		err := retry.Call(limit, "ec2:DescribeSnapshots", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) (err error) {
			out, err = j.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{s.id}})
			return err
		})
		switch {
		case err != nil && limit.Err() == nil:
			return fmt.Errorf("waiting for snapshot %s: %w", s.id, j.forget(ctx, s, err))
		case err == nil && len(out.Snapshots) > 0:
			switch now := out.Snapshots[0]; now.State {
			case types.SnapshotStateCompleted:
				return nil
			case types.SnapshotStateError:
				return fault.New(fault.Unreachable, errors.Join(fmt.Errorf("snapshot %s failed: %s", s.id, aws.ToString(now.StateMessage)), j.Ledger.Gone(ctx, s.key)),
					"run the same command again: it starts another one")
			}
		}
		if retry.Sleep(limit, pause) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fault.New(fault.Unreachable, fmt.Errorf("snapshot %s is not completed after %s", s.id, completeLimit), "run the same command again later")
		}
	}
}
