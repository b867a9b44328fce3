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
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/readback"
	"ingot/internal/publish/retry"
	"ingot/internal/publish/volumes"
)

// backupGPT is how many bytes at the end of a disk are its table's backup (UEFI, 5.3: a header and 128 entries).
const backupGPT = 33 * 512

var volumeID = regexp.MustCompile(`^vol-[0-9a-f]{8,17}$`)

// checkVolume refuses what a volume cannot be published as.
func (r *Request) checkVolume() error {
	switch {
	case r.Volume == "":
		return nil
	case !r.newVolume() && !volumeID.MatchString(r.Volume):
		return fault.New(fault.Input, fmt.Errorf("%q is not the id of a volume", r.Volume), "name one (vol-…), or let one be made: "+NewVolume)
	case len(r.Regions) > 1 && !r.Copy:
		return fault.New(fault.Input, fmt.Errorf("a volume (%s) is in one region, and %d are named", r.Volume, len(r.Regions)), "name its region, or have the AMI copied to the others (copy: true)")
	case r.Store != nil:
		return fault.Newf(fault.Input, "a volume cannot be the root of an instance store-backed image")
	case r.newVolume() && r.Host == nil:
		return errors.New("nothing says which instance is to fill the volume")
	}
	return nil
}

// ofVolume returns a completed snapshot of the volume, whose content was compared with the image, byte by byte. One that an earlier run
// has made of something else is left to gc.
func (j *job) ofVolume(ctx context.Context) (*snapshot, error) {
	key := j.key(ledger.Snapshot, j.token(0))
	for n := 1; ; n++ {
		s, err := j.taken(ctx, key)
		if err != nil {
			return nil, err
		}
		made := s == nil
		if made {
			if s, err = j.take(ctx, key); err != nil {
				return nil, err
			}
		}
		if err := j.completed(ctx, s); err != nil {
			return nil, err
		}
		err = j.holdsImage(ctx, s.id)
		if err == nil {
			return s, j.dropOwn(ctx)
		}
		if fault.KindOf(err) != fault.Verdict {
			return nil, err
		}
		if e := j.Ledger.Gone(ctx, key); e != nil { // its date of expiry leads gc to it
			return nil, errors.Join(err, e)
		}
		if made || n == generations {
			return nil, errors.Join(err, j.dropOwn(ctx))
		}
		j.task.Logf("%s, which an earlier run has made, is left alone: %v", s.id, err)
		j.spoiled = append(j.spoiled, s.id)
	}
}

// taken returns the snapshot that an earlier run, or another machine, has made of a volume that held the image; nil: there is none.
func (j *job) taken(ctx context.Context, key ledger.Key) (*snapshot, error) {
	was, known, err := j.Ledger.Find(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case !known, was.State == ledger.Gone:
		s, err := j.earlier(ctx, key)
		if s != nil && err == nil {
			err = j.adopt(ctx, s)
		}
		return s, err
	}
	filter := inventory.Filter("tag:"+TagRun, was.Run) // an attempt's reply may have been lost
	if was.ID != "" {
		filter = inventory.Filter("snapshot-id", was.ID)
	}
	return j.earlierSoon(ctx, key, filter)
}

// take makes a snapshot of the volume, or of one of our own that this instance fills. CreateSnapshot has no client token, so before it is
// tried again it looks for the tags.
func (j *job) take(ctx context.Context, key ledger.Key) (s *snapshot, err error) {
	find := j.theirs
	if j.newVolume() {
		find = j.filled
	}
	volume, err := find(ctx)
	if err != nil {
		return nil, err
	}
	e, err := j.Ledger.Intend(ctx, j.entry(key))
	if err != nil {
		return nil, err
	}
	again := false
	err = retry.Call(ctx, "ec2:CreateSnapshot", retry.Policy{}, func(ctx context.Context) (err error) {
		if again {
			if s, err = j.earlierSoon(ctx, key, inventory.Filter("tag:"+TagRun, e.Run)); s != nil || err != nil {
				return err
			}
		}
		again = true
		out, err := j.ec2.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &volume, Description: &j.Name,
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: tagList(j.tags(e))}}})
		if err == nil {
			s = &snapshot{key: key, id: aws.ToString(out.SnapshotId), state: out.State}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making a snapshot of %s: %w", volume, err)
	}
	return s, j.Ledger.Made(ctx, key, s.id)
}

// theirs returns the id of a volume that somebody else has filled, if it can hold the image.
func (j *job) theirs(ctx context.Context) (string, error) {
	v, err := volumes.Find(ctx, j.ec2, j.Volume)
	if err != nil {
		return "", fmt.Errorf("looking for the volume: %w", err)
	}
	if v == nil {
		return "", fault.Newf(fault.Missing, "there is no volume %s in %s", j.Volume, j.region)
	}
	if size := int64(aws.ToInt32(v.Size)); size != j.VolumeSize {
		return "", fault.New(fault.Input, fmt.Errorf("the volume %s has %d GiB, and the image is to have %d", j.Volume, size, j.VolumeSize), "set disk: {volume: …} to the volume's size, or use another volume")
	}
	if is := aws.ToBool(v.Encrypted); is != j.Encrypt {
		return "", fault.Newf(fault.Input, "the volume %s is encrypted: %v, and the snapshot, which takes that from it, should be: %v", j.Volume, is, j.Encrypt)
	}
	return j.Volume, nil
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
		hint := "write the image with `ingot install` to a new volume, unmount it, and publish that"
		if j.newVolume() {
			hint = "run the same command again: it fills another volume"
		}
		return fault.New(fault.Verdict, fmt.Errorf("the volume of the snapshot %s does not hold what was built: %w", id, err), hint)
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
