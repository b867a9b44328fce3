package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
)

// job is the publishing of one image in one region.
type job struct {
	*shared
	region, account string
	ec2             EC2
	ebs             EBS
	ssm             SSM
	s3              bundles.S3 // for an image that is backed by instance store
	up              *uploader
	sent            atomic.Int64
	task            *progress.Task

	used    []ledger.Key // what the image is made of, beside itself
	parent  string       // of its snapshot
	spoiled []string     // snapshots of earlier runs that do not hold the image
}

// run takes the region from whatever state it is in to the wanted one.
func (j *job) run(ctx context.Context) Result {
	res := Result{Region: j.region}
	i, err := j.image(ctx, &res)
	if i != nil {
		res.ImageID, res.SnapshotID = *i.ImageId, inventory.RootSnapshot(i)
		if err == nil {
			err = j.finish(ctx, i)
		}
	}
	res.Err, res.Sent, res.Parent = err, int(j.sent.Load()), j.parent
	return res
}

// Action is what becomes of the image itself in a region.
type Action string

// The actions.
const (
	Leave    Action = "leave"   // it is there
	Create   Action = "create"  // there is none of its name
	Copied   Action = "copy"    // the same, but EC2 copies it from the first region
	Exchange Action = "replace" // there is one of its name and other content, or an earlier run has begun to replace that
)

// course is an action, and the image of the name that is there, nil if there is none.
type course struct {
	action Action
	there  *types.Image
}

// course looks what is there, and decides what becomes of the image. It changes nothing.
func (j *job) course(ctx context.Context) (c course, err error) {
	if c.there, err = j.find(ctx, j.Name); err != nil {
		return c, err
	}
	if c.there != nil && inventory.Tag(c.there.Tags, TagContent) == j.content {
		c.action = Leave
		return c, nil
	}
	if c.there != nil && !j.Replace {
		return c, fault.New(fault.Exists, fmt.Errorf("%s is there already, with other content, as %s", j.Name, *c.there.ImageId),
			"publish under another name, or have that image replaced (--replace)")
	}
	temporary, err := j.hasTemporary(ctx)
	switch {
	case err != nil:
		return c, err
	case c.there != nil || temporary:
		c.action = Exchange
		return c, j.fillable()
	case j.Copy && j.region != j.original.region:
		c.action = Copied
		s, err := j.earlier(ctx, j.key(ledger.Snapshot, j.token(0)))
		if err != nil {
			return c, err
		}
		if s != nil && s.state == types.SnapshotStateCompleted { // of a copy that was deregistered: another one would leave it to nobody
			c.action = Create
		}
	default:
		c.action = Create
	}
	return c, nil
}

// image finds the image, or makes it.
func (j *job) image(ctx context.Context, res *Result) (*types.Image, error) {
	c, err := j.course(ctx)
	if err != nil {
		return nil, err
	}
	switch c.action {
	case Leave:
		res.Existed = true
		return j.left(ctx, c.there)
	case Copied:
		if j.Material { // a copy needs the image
			return nil, nil
		}
		return j.copied(ctx)
	}
	in, err := j.material(ctx)
	switch {
	case err != nil || j.Material:
		return nil, err
	case c.action == Exchange:
		return j.replace(ctx, in, c.there)
	}
	return j.register(ctx, j.Name, in)
}

// left makes sure of an image that is there.
func (j *job) left(ctx context.Context, i *types.Image) (_ *types.Image, err error) {
	if i.State != types.ImageStateAvailable { // an earlier run did not wait
		if i, err = j.await(ctx, j.Name, retry.Settle); err != nil {
			return i, err
		}
	}
	if err := errors.Join(j.compare(i), j.record(ctx, i)); err != nil {
		return i, err
	}
	return i, j.dropTemporary(ctx)
}

// material makes what the image is registered from.
func (j *job) material(ctx context.Context) (*ec2.RegisterImageInput, error) {
	if j.Store != nil {
		location, err := j.uploadBundle(ctx)
		return &ec2.RegisterImageInput{ImageLocation: &location}, err
	}
	find := j.snapshot
	if j.Volume != "" {
		find = j.ofVolume
	}
	s, err := find(ctx)
	if err != nil {
		return nil, err
	}
	j.used = append(j.used, s.key)
	if s.base != nil {
		j.parent = s.base.id
	}
	return j.ofSnapshot(s.id), nil
}

// find returns the account's image of a name, or nil.
func (j *job) find(ctx context.Context, name string) (*types.Image, error) {
	var out *ec2.DescribeImagesOutput
	err := retry.Call(ctx, "ec2:DescribeImages", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = j.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDisabled: aws.Bool(true),
			IncludeDeprecated: aws.Bool(true), Filters: []types.Filter{{Name: aws.String("name"), Values: []string{name}}}})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the image: %w", err)
	}
	for _, i := range out.Images {
		if aws.ToString(i.Name) == name && i.ImageId != nil && i.State != types.ImageStateDeregistered { // which may still be listed for a while
			return &i, nil
		}
	}
	return nil, nil
}

func (j *job) key(kind ledger.Kind, name string) ledger.Key {
	return ledger.Key{Kind: kind, Account: j.account, Region: j.region, Name: name}
}

// entry is what stands in the ledger before something is made.
func (j *job) entry(k ledger.Key) ledger.Entry {
	return ledger.Entry{Key: k, Run: j.RunID, Release: j.Release, Image: j.Name, Series: j.Series, Content: j.content, Expires: j.Now().Add(Life)}
}

// tags are those of the request and ours, for something that is in the ledger.
func (j *job) tags(e ledger.Entry) map[string]string {
	all := map[string]string{"Name": j.Name, TagContent: j.content, TagImage: j.Name, TagRun: e.Run, TagExpires: e.Expires.Format(time.RFC3339)}
	for k, v := range map[string]string{TagSeries: j.Series, TagParent: e.Parent, TagVolume: j.Volume} {
		if v != "" && v != NewVolume {
			all[k] = v
		}
	}
	for k, v := range j.Tags {
		all[k] = v
	}
	return all
}

// record has what was found in the ledger, which may be another machine's work.
func (j *job) record(ctx context.Context, i *types.Image) error {
	k := j.key(ledger.Image, j.Name)
	if _, err := j.Ledger.Intend(ctx, j.entry(k)); err != nil {
		return err
	}
	if err := j.Ledger.Made(ctx, k, *i.ImageId); err != nil {
		return err
	}
	all, err := j.Ledger.List(ctx, ledger.Filter{Account: j.account, Region: j.region})
	if err != nil {
		return err
	}
	root := inventory.RootSnapshot(i)
	for _, e := range all {
		if e.Image != j.Name || e.Content != j.content || e.Kind != ledger.Bundle && e.Kind != ledger.Snapshot {
			continue
		}
		if e.Kind == ledger.Snapshot && e.ID == "" && root != "" && e.Run == inventory.Tag(i.Tags, TagRun) { // of a copy whose end that run did not see
			if err := j.Ledger.Made(ctx, e.Key, root); err != nil {
				return err
			}
			e.ID = root
		}
		if e.Kind == ledger.Bundle || e.ID == root || i.RootDeviceType == types.DeviceTypeInstanceStore {
			j.used = append(j.used, e.Key)
		}
	}
	return nil
}

// await waits until the image can be seen and is available, and compares it with what was asked for.
func (j *job) await(ctx context.Context, name string, most time.Duration) (*types.Image, error) {
	limit, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		i, err := j.find(limit, name)
		switch {
		case err != nil && limit.Err() == nil:
			return nil, err
		case i == nil || inventory.Tag(i.Tags, TagContent) != j.content: // not yet, or still the one before
		case i.State == types.ImageStateAvailable:
			return i, j.compare(i)
		case slices.Contains([]types.ImageState{types.ImageStateFailed, types.ImageStateInvalid, types.ImageStateError}, i.State):
			return i, j.failed(i)
		}
		if retry.Sleep(limit, pause) != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fault.New(fault.Unreachable, fmt.Errorf("%s was registered, but did not become available within %s", name, most),
				"run the same command again later")
		}
	}
}

// failed says why an image did not become available.
func (j *job) failed(i *types.Image) error {
	reason := ""
	if i.StateReason != nil {
		reason = ": " + aws.ToString(i.StateReason.Message)
	}
	return fault.New(fault.Unreachable, fmt.Errorf("image %s is %s%s", *i.ImageId, i.State, reason), "deregister it, and run the same command again")
}
