package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/readback"
	"ingot/internal/publish/retry"
)

// backupGPT is how many bytes at the end of a disk are its table's backup (UEFI, 5.3: a header and 128 entries).
const backupGPT = 33 * 512

var volumeID = regexp.MustCompile(`^vol-[0-9a-f]{8,17}$`)

// checkVolume refuses what a volume cannot be published as.
func (r *Request) checkVolume() error {
	switch {
	case r.Volume == "":
		return nil
	case !volumeID.MatchString(r.Volume):
		return fault.Newf(fault.Input, "%q is not the id of a volume", r.Volume)
	case len(r.Regions) > 1 && !r.Copy:
		return fault.New(fault.Input, fmt.Errorf("the volume %s is in one region, and %d are named", r.Volume, len(r.Regions)), "name its region, or have the AMI copied to the others (copy: true)")
	case r.Store != nil:
		return fault.Newf(fault.Input, "a volume cannot be the root of an instance store-backed image")
	}
	return nil
}

// ofVolume returns a completed snapshot of the volume, whose content was compared with the image, byte by byte.
func (j *job) ofVolume(ctx context.Context) (*snapshot, error) {
	v, err := j.volume(ctx)
	if err != nil {
		return nil, err
	}
	if size := int64(aws.ToInt32(v.Size)); size != j.VolumeSize {
		return nil, fault.New(fault.Input, fmt.Errorf("the volume %s has %d GiB, and the image is to have %d", j.Volume, size, j.VolumeSize), "set disk: {volume: …} to the volume's size, or use another volume")
	}
	if is := aws.ToBool(v.Encrypted); is != j.Encrypt {
		return nil, fault.Newf(fault.Input, "the volume %s is encrypted: %v, and the snapshot, which takes that from it, should be: %v", j.Volume, is, j.Encrypt)
	}
	s, err := j.snapshotOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := j.completed(ctx, s); err != nil {
		return nil, err
	}
	return s, j.holdsImage(ctx, s.id)
}

func (j *job) volume(ctx context.Context) (*types.Volume, error) {
	var out *ec2.DescribeVolumesOutput
	err := retry.Call(ctx, "ec2:DescribeVolumes", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = j.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{j.Volume}})
		return err
	})
	if err == nil && len(out.Volumes) == 0 || retry.Code(err) == "InvalidVolume.NotFound" {
		return nil, fault.Newf(fault.Missing, "there is no volume %s in %s", j.Volume, j.region)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the volume: %w", err)
	}
	return &out.Volumes[0], nil
}

// snapshotOf finds the snapshot that an earlier run, or an attempt whose reply was lost, has made of the volume, or makes one.
// CreateSnapshot has no client token, so before each attempt it looks for the tags.
func (j *job) snapshotOf(ctx context.Context) (s *snapshot, err error) {
	key := j.key(ledger.Snapshot, j.token(0))
	e := j.entry(key)
	was, known, err := j.Ledger.Find(ctx, key)
	if err != nil {
		return nil, err
	}
	if known && was.State != ledger.Gone {
		e.Expires, e.Run = was.Expires, was.Run
	}
	if _, err := j.Ledger.Intend(ctx, e); err != nil {
		return nil, err
	}
	look := j.earlier // where nobody has asked for it before, once is enough
	if known {
		look = j.earlierSoon
	}
	err = retry.Call(ctx, "ec2:CreateSnapshot", retry.Policy{}, func(ctx context.Context) (err error) {
		if s, err = look(ctx, key); s != nil || err != nil {
			return err
		}
		look = j.earlierSoon
		out, err := j.ec2.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &j.Volume, Description: &j.Name,
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: tagList(j.tags(e))}}})
		if err == nil {
			s = &snapshot{key: key, id: aws.ToString(out.SnapshotId), state: out.State}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making a snapshot of %s: %w", j.Volume, err)
	}
	return s, j.Ledger.Made(ctx, key, s.id)
}

// holdsImage compares a snapshot with the image as `ingot install` writes it to a volume of this size: every block of the map; and that
// there is nothing else, since what was on the volume before would be shown to whoever launches the image.
func (j *job) holdsImage(ctx context.Context, id string) error {
	tokens, err := readback.List(ctx, j.ebs, id)
	if err != nil {
		return err
	}
	size := j.VolumeSize * gib
	j.task.Grow(j.Map.Bytes())
	from := readback.NewReader(ctx, j.ebs, id, tokens)
	refuse := func(err error) error {
		return fault.New(fault.Verdict, fmt.Errorf("the volume %s is not what was built: %w", j.Volume, err), "write the image with `ingot install` to a new volume, unmount it, and publish that")
	}
	if err := disk.Compare(ctx, from, size, j.source.image, j.Map, j.task); err != nil {
		if fault.KindOf(err) == fault.Host { // the bytes differ; all else is about reading them
			return refuse(err)
		}
		return err
	}
	known, last := map[int32]bool{}, int32((size-1)/disk.BlockSize)
	for _, b := range j.Map.Blocks {
		known[b.Index] = true
	}
	for _, index := range slices.Sorted(maps.Keys(tokens)) {
		if known[index] {
			continue
		}
		data, err := readback.Read(ctx, j.ebs, id, index, tokens[index])
		if err != nil {
			return err
		}
		if index == last {
			clear(data[len(data)-backupGPT:]) // which was compared
		}
		if !bytes.Equal(data, zeroBlock) {
			return refuse(errors.New("it has other bytes in block " + fmt.Sprint(index)))
		}
	}
	return nil
}
