// Package volumes looks at EBS volumes, and takes them away: from the instance that has them, and then altogether.
package volumes

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

const (
	settleLimit = 5 * time.Minute // for what EC2, or an instance's kernel, is asked to do with a volume
	pollFirst   = 500 * time.Millisecond
	pollMost    = 5 * time.Second
)

// notFound is EC2's code for a volume that it does not know.
const notFound = "InvalidVolume.NotFound"

// EC2 are the calls that this takes, each a permission.
type EC2 interface {
	inventory.Volumes
	DetachVolume(context.Context, *ec2.DetachVolumeInput, ...func(*ec2.Options)) (*ec2.DetachVolumeOutput, error)
	DeleteVolume(context.Context, *ec2.DeleteVolumeInput, ...func(*ec2.Options)) (*ec2.DeleteVolumeOutput, error)
}

// Find returns a volume, and nil if there is none of its id, or it is being deleted.
func Find(ctx context.Context, client inventory.Volumes, id string) (*types.Volume, error) {
	all, err := inventory.ListVolumes(ctx, client, inventory.Filter("volume-id", id))
	if err != nil || len(all) == 0 || all[0].State == types.VolumeStateDeleting || all[0].State == types.VolumeStateDeleted {
		return nil, err
	}
	return &all[0], nil
}

// Await waits until a volume is as ready says, which may end it by an error. what says that in words. A volume that has just been made
// may not be found for a while.
func Await(ctx context.Context, client inventory.Volumes, id, what string, ready func(*types.Volume) (bool, error)) (*types.Volume, error) {
	limit, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	begun := time.Now()
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		v, err := Find(limit, client, id)
		switch {
		case err != nil && limit.Err() == nil:
			return nil, err
		case err == nil && v == nil && time.Since(begun) > retry.Settle:
			return nil, fault.New(fault.Missing, fmt.Errorf("the volume %s does not exist any more", id), "run the same command again: it makes another one")
		case err == nil && v != nil:
			if v.State == types.VolumeStateError {
				return v, fault.New(fault.Unreachable, fmt.Errorf("the volume %s has failed", id), "run the same command again; if it is encrypted, see whether its key may be used")
			}
			if ok, err := ready(v); ok || err != nil {
				return v, err
			}
		}
		if retry.Sleep(limit, pause) != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fault.New(fault.Unreachable, fmt.Errorf("the volume %s is not %s after %s", id, what, settleLimit),
				"run the same command again; if something on the instance uses the volume (see lsblk there), end that first")
		}
	}
}

// Attachment returns where a volume is attached, or was until a moment ago; nil: nowhere.
func Attachment(v *types.Volume) *types.VolumeAttachment {
	for _, a := range v.Attachments {
		if a.State != types.VolumeAttachmentStateDetached {
			return &a
		}
	}
	return nil
}

// Detach takes a volume from its instance, and returns when the instance has let go of it.
func Detach(ctx context.Context, client EC2, id string) error {
	v, err := Find(ctx, client, id)
	if err != nil || v == nil {
		return err
	}
	return detach(ctx, client, id, v)
}

// detach is Detach for a volume that was looked at.
func detach(ctx context.Context, client EC2, id string, v *types.Volume) error {
	if a := Attachment(v); a != nil && a.State != types.VolumeAttachmentStateDetaching {
		err := retry.Call(ctx, "ec2:DetachVolume", retry.Policy{}, func(ctx context.Context) error {
			_, err := client.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: &id, InstanceId: a.InstanceId})
			return err
		})
		// It may have gone meanwhile, by an attempt whose reply was lost, or with its instance: how it is decides.
		if code := retry.Code(err); err != nil && code != "IncorrectState" && code != "InvalidAttachment.NotFound" && code != notFound {
			return fmt.Errorf("detaching the volume %s from %s: %w", id, aws.ToString(a.InstanceId), err)
		}
	}
	if v.State == types.VolumeStateAvailable && Attachment(v) == nil {
		return nil
	}
	_, err := Await(ctx, client, id, "detached", func(v *types.Volume) (bool, error) {
		return v.State == types.VolumeStateAvailable && Attachment(v) == nil, nil
	})
	return err
}

// Remove takes a volume from the instance that has it, if any, and deletes it. One that does not exist is no error.
func Remove(ctx context.Context, client EC2, id string) error {
	v, err := Find(ctx, client, id)
	if err != nil || v == nil {
		return err
	}
	if Attachment(v) != nil {
		if err := detach(ctx, client, id, v); err != nil {
			return err
		}
	}
	err = retry.Call(ctx, "ec2:DeleteVolume", retry.Policy{}, func(ctx context.Context) error {
		_, err := client.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
		return err
	})
	if err != nil && retry.Code(err) != notFound {
		return fmt.Errorf("deleting the volume %s: %w", id, err)
	}
	return nil
}
