package publish

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/disk"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

// base is a snapshot that a new one is based on.
type base struct {
	id  string
	has *disk.Map // what it shows, by its tag
}

// base returns the newest snapshot of the series that the new one can be based on, or nil: it is complete and kept, its
// content is known here to the block, and it is encrypted, or not, as the new one is to be. For AWS has a snapshot take
// that from its parent.
func (j *job) base(ctx context.Context) (*base, error) {
	if j.Series == "" || j.Maps == nil || j.ShareSnapshot && j.Public || j.Encrypt && j.Keys[j.region] == "" {
		return nil, nil
	}
	all, err := j.snapshots(ctx, types.Filter{Name: aws.String("tag:" + TagSeries), Values: []string{j.Series}})
	if err != nil {
		return nil, fmt.Errorf("looking for the snapshot of the release before: %w", err)
	}
	slices.SortStableFunc(all, func(a, b types.Snapshot) int {
		return aws.ToTime(b.StartTime).Compare(aws.ToTime(a.StartTime))
	})
	for _, s := range all {
		if b, err := j.asBase(&s); b != nil || err != nil {
			return b, err
		}
	}
	return nil, nil
}

func (j *job) asBase(s *types.Snapshot) (*base, error) {
	size := int64(aws.ToInt32(s.VolumeSize))
	switch {
	case s.State != types.SnapshotStateCompleted, inventory.Tag(s.Tags, TagExpires) != "", size > j.VolumeSize,
		aws.ToBool(s.Encrypted) != j.Encrypt, j.Encrypt && aws.ToString(s.KmsKeyId) != j.Keys[j.region],
		s.StorageTier == types.StorageTierArchive:
		return nil, nil
	}
	has, err := j.Maps.Get(inventory.Tag(s.Tags, TagContent), size)
	if has == nil || err != nil {
		return nil, err
	}
	return &base{aws.ToString(s.SnapshotId), has}, nil
}

// named returns the base that an earlier run began a snapshot with, nil if it cannot be used any more.
func (j *job) named(ctx context.Context, id string) (*base, error) {
	all, err := j.snapshots(ctx, types.Filter{Name: aws.String("snapshot-id"), Values: []string{id}})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return j.asBase(&all[0])
}

// blocks returns what is to be sent: all of the image's blocks, or what differs from the base. What is free now and was
// not then is sent as zeros, so that the snapshot has nothing that the image has not.
func (b *base) blocks(m *disk.Map) []disk.Block {
	if b == nil {
		return m.Blocks
	}
	diff := m.Diff(b.has)
	send := append(diff.Changed, diff.Added...)
	for _, index := range diff.Vanished {
		send = append(send, disk.Block{Index: index, SHA256: zeroSum})
	}
	slices.SortFunc(send, func(a, b disk.Block) int { return cmp.Compare(a.Index, b.Index) })
	return send
}

// snapshots returns the account's snapshots that a filter selects.
func (j *job) snapshots(ctx context.Context, filters ...types.Filter) (all []types.Snapshot, err error) {
	pages := ec2.NewDescribeSnapshotsPaginator(j.ec2, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: filters})
	for pages.HasMorePages() {
		var page *ec2.DescribeSnapshotsOutput
		err := retry.Call(ctx, "ec2:DescribeSnapshots", retry.Policy{}, func(ctx context.Context) (err error) {
			page, err = pages.NextPage(ctx)
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Snapshots...)
	}
	return all, nil
}
