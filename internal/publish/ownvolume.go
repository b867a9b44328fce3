package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/host"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
	"ingot/internal/publish/volumes"
)

// NewVolume as the volume of a request lets one be made: on the instance that this program runs on, which fills it. It is deleted when its
// snapshot holds the image.
const NewVolume = "new"

// Host is the instance that makes and fills volumes: host.This, but in tests.
type Host interface {
	Where(context.Context) (host.Place, error)
	// Install writes an image to an attached volume, whatever is on that, and returns when all is there.
	Install(ctx context.Context, v host.Volume, image io.ReaderAt, m *disk.Map, task *progress.Task) error
}

// newVolume says whether the volume is one that is made for this.
func (r *Request) newVolume() bool { return r.Volume == NewVolume }

// reachable refuses a volume of our own that would be where this instance, or these credentials, are not.
func (s *shared) reachable() error {
	if !s.newVolume() {
		return nil
	}
	if first := s.Regions[0]; s.place.Region != first {
		return fault.New(fault.Input, fmt.Errorf("this is the instance %s in %s, and a new volume would be in %s", s.place.Instance, s.place.Region, first),
			"name the instance's region first (--region), or run ingot on an instance in that one")
	}
	if account := s.accounts[Partition(s.place.Region)]; account != s.place.Account && s.place.Account != "" {
		return fault.New(fault.Denied, fmt.Errorf("this is an instance of the account %s, and the credentials are those of %s, whose volumes cannot be attached to it", s.place.Account, account),
			"use credentials of the instance's account, such as its role")
	}
	return nil
}

// devices are the places for volumes at an instance: EC2 recommends /dev/sdf to /dev/sdp (EC2 User Guide, "Device names for volumes").
const devices = "fghijklmnop"

// ownVolume is where a volume of our own stands in the ledger.
func (j *job) ownVolume() ledger.Key {
	return j.key(ledger.Volume, j.place.Instance+"/"+j.token(0))
}

func (j *job) attachment(volume string) ledger.Key {
	return j.key(ledger.Attachment, volume+"/"+j.place.Instance)
}

// fillable refuses to replace an image where this instance cannot fill a volume: EC2 copies to other regions, under the final name.
func (j *job) fillable() error {
	if !j.newVolume() || j.region == j.place.Region {
		return nil
	}
	return fault.New(fault.Input, fmt.Errorf("the image in %s would be replaced, and a new volume can be filled in %s alone, where this instance is", j.region, j.place.Region),
		"deregister the image in "+j.region+" first: then the new one is copied")
}

// filled makes a volume, or finds the one that an earlier run began with, writes the image to it, and takes it from the instance again, so
// that nothing is in any cache. An earlier run's is written anew: it does not tell how far that came.
func (j *job) filled(ctx context.Context) (string, error) {
	if err := j.fillable(); err != nil {
		return "", err
	}
	v, err := j.makeVolume(ctx)
	if err != nil {
		return "", fmt.Errorf("making a volume: %w", err)
	}
	id := aws.ToString(v.VolumeId)
	device, err := j.attach(ctx, v)
	if err != nil {
		return "", fmt.Errorf("attaching the volume %s to this instance: %w", id, err)
	}
	if err := j.Host.Install(ctx, host.Volume{ID: id, Device: device, Size: j.VolumeSize}, j.source.image, j.Map, j.task); err != nil {
		return "", fmt.Errorf("filling the volume %s: %w", id, err)
	}
	if err := volumes.Detach(ctx, j.ec2, id); err != nil {
		return "", err
	}
	return id, j.Ledger.Gone(ctx, j.attachment(id))
}

// makeVolume returns a volume that is available, or attached to this instance.
func (j *job) makeVolume(ctx context.Context) (*types.Volume, error) {
	key := j.ownVolume()
	e, err := j.Ledger.Intend(ctx, j.entry(key))
	if err == nil && e.ID != "" {
		var is *types.Volume
		if is, err = volumes.Find(ctx, j.ec2, e.ID); err == nil && (is == nil || !j.suits(is)) { // somebody has deleted it, or something else is asked for
			if err = j.dropOwn(ctx); err == nil {
				e, err = j.Ledger.Intend(ctx, j.entry(key))
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if e.ID == "" {
		if e.ID, err = j.createVolume(ctx, e); err != nil {
			return nil, err
		}
		if err := j.Ledger.Made(ctx, key, e.ID); err != nil {
			return nil, err
		}
	}
	v, err := volumes.Await(ctx, j.ec2, e.ID, "available", func(v *types.Volume) (bool, error) {
		switch a := volumes.Attachment(v); {
		case a == nil:
			return v.State == types.VolumeStateAvailable, nil
		case aws.ToString(a.InstanceId) != j.place.Instance:
			return false, elsewhere(a)
		default:
			return a.State == types.VolumeAttachmentStateAttached || a.State == types.VolumeAttachmentStateAttaching, nil
		}
	})
	switch {
	case err == nil && j.Public && aws.ToBool(v.Encrypted):
		err = fault.New(fault.Input, fmt.Errorf("the account encrypts new volumes in %s, and an encrypted image cannot be public", j.region),
			"switch encryption by default off there, or leave the image private")
	case err == nil || v == nil || v.State != types.VolumeStateError:
		return v, err
	}
	return nil, errors.Join(err, j.dropOwn(ctx)) // it is of no use to the next run
}

// suits says whether a volume that was made before is encrypted as it is to be now.
func (j *job) suits(v *types.Volume) bool {
	key := j.Keys[j.region]
	return !j.Encrypt || aws.ToBool(v.Encrypted) && (key == "" || aws.ToString(v.KmsKeyId) == key)
}

// createVolume asks for a volume. Its client token follows from what the ledger has, so that whoever goes on with that gets the same volume,
// and one that is gone is not meant again.
func (j *job) createVolume(ctx context.Context, e ledger.Entry) (string, error) {
	sum := sha256.Sum256(fmt.Appendln(nil, e.Run, e.Name, e.Expires.Unix()))
	in := &ec2.CreateVolumeInput{AvailabilityZone: &j.place.Zone, Size: aws.Int32(int32(j.VolumeSize)), VolumeType: types.VolumeTypeGp3,
		ClientToken:       aws.String(hex.EncodeToString(sum[:])),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: tagList(j.tags(e))}}}
	if j.Encrypt {
		in.Encrypted = aws.Bool(true)
		if key := j.Keys[j.region]; key != "" {
			in.KmsKeyId = &key
		}
	}
	var id string
	err := retry.Call(ctx, "ec2:CreateVolume", retry.Policy{}, func(ctx context.Context) error {
		out, err := j.ec2.CreateVolume(ctx, in)
		if err == nil {
			id = aws.ToString(out.VolumeId)
		}
		return err
	})
	return id, err
}

// attach attaches the volume to this instance, if it is not, and returns the name that it has there.
func (j *job) attach(ctx context.Context, v *types.Volume) (device string, err error) {
	id := aws.ToString(v.VolumeId)
	key := j.attachment(id)
	if _, err := j.Ledger.Intend(ctx, j.entry(key)); err != nil {
		return "", err
	}
	if volumes.Attachment(v) == nil {
		if device, err = j.freeDevice(ctx); err != nil {
			return "", err
		}
		err = retry.Call(ctx, "ec2:AttachVolume", retry.Policy{}, func(ctx context.Context) error {
			_, err := j.ec2.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &j.place.Instance, Device: &device})
			if retry.Code(err) == "VolumeInUse" { // by an attempt whose reply was lost: where it is tells
				return nil
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	v, err = volumes.Await(ctx, j.ec2, id, "attached", func(v *types.Volume) (bool, error) {
		a := volumes.Attachment(v)
		return a != nil && a.State == types.VolumeAttachmentStateAttached, nil
	})
	if err != nil {
		return "", err
	}
	a := volumes.Attachment(v)
	if aws.ToString(a.InstanceId) != j.place.Instance {
		return "", elsewhere(a)
	}
	return aws.ToString(a.Device), j.Ledger.Made(ctx, key, key.Name)
}

// elsewhere is the error for a volume of ours that another instance has.
func elsewhere(a *types.VolumeAttachment) error {
	return fault.New(fault.Exists, fmt.Errorf("it is attached to %s", aws.ToString(a.InstanceId)), "detach it there; then the same command goes on")
}

// freeDevice returns the first place for a volume that no other volume of the instance has.
func (j *job) freeDevice(ctx context.Context) (string, error) {
	all, err := inventory.ListVolumes(ctx, j.ec2, inventory.Filter("attachment.instance-id", j.place.Instance))
	if err != nil {
		return "", err
	}
	taken := map[byte]bool{}
	for _, v := range all {
		for _, a := range v.Attachments {
			taken[host.Letter(aws.ToString(a.Device))] = true
		}
	}
	for _, letter := range []byte(devices) {
		if !taken[letter] {
			return "/dev/sd" + string(letter), nil
		}
	}
	return "", fault.New(fault.Quota, fmt.Errorf("the instance %s has volumes at all of /dev/sdf to /dev/sdp", j.place.Instance), "detach one of them")
}

// dropOwn deletes the volume of our own that this, or an earlier run on this instance, has made for the image.
func (j *job) dropOwn(ctx context.Context) error {
	if !j.newVolume() {
		return nil
	}
	key := j.ownVolume()
	e, known, err := j.Ledger.Find(ctx, key)
	if err != nil || !known || e.State == ledger.Gone || e.ID == "" { // without an id, gc knows of it by its tags
		return err
	}
	if err := volumes.Remove(ctx, j.ec2, e.ID); err != nil {
		return err
	}
	_, attached, err := j.Ledger.Find(ctx, j.attachment(e.ID))
	if err == nil && attached {
		err = j.Ledger.Gone(ctx, j.attachment(e.ID))
	}
	return errors.Join(err, j.Ledger.Gone(ctx, key))
}
