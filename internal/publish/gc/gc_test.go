package gc_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/publish/cloudtest"
	"ingot/internal/publish/gc"
	"ingot/internal/publish/ledger"
)

const region = "us-east-1"

// What expired and nobody owns goes; what a release owns, what has not expired, what is somebody else's and what an image is
// made of stay.
func TestCollect(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t, region)
	ctx := t.Context()
	release := c.Release("a-1")
	account, err := c.Clients.Account(ctx, region)
	if err != nil {
		t.Fatal(err)
	}
	client, direct := c.EC2(region), ebs.NewFromConfig(c.Clients.Config(region))
	soon, late := c.Now().Add(time.Hour).UTC().Truncate(time.Second), c.Now().Add(99*time.Hour).UTC().Truncate(time.Second)
	start := func(expires time.Time) string {
		t.Helper()
		in := &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Tags: []ebstypes.Tag{{Key: aws.String("ingot:run"), Value: aws.String("run-9")}}, Timeout: aws.Int32(4320)}
		if !expires.IsZero() {
			in.Tags = append(in.Tags, ebstypes.Tag{Key: aws.String("ingot:expires"), Value: aws.String(expires.Format(time.RFC3339))})
		}
		out, err := direct.StartSnapshot(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		return *out.SnapshotId
	}
	expired, fresh, untagged := start(soon), start(late), start(time.Time{})
	// A release whose tag a killed run has not taken away is still a release.
	owned := release.AMIs[0]
	for _, id := range []string{owned.ImageID, owned.SnapshotID} {
		if _, err := client.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("ingot:expires"), Value: aws.String(soon.Format(time.RFC3339))}}}); err != nil {
			t.Fatal(err)
		}
	}
	// An image that a run did not finish, of the release's own snapshot.
	unfinished, err := client.RegisterImage(ctx, &ec2.RegisterImageInput{Name: aws.String("unfinished"), Architecture: "x86_64", VirtualizationType: aws.String("hvm"),
		RootDeviceName:      aws.String("/dev/xvda"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: &owned.SnapshotID}}},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("ingot:run"), Value: aws.String("run-9")},
			{Key: aws.String("ingot:expires"), Value: aws.String(soon.Format(time.RFC3339))}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("throwaway"), TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeKeyPair,
		Tags: []types.Tag{{Key: aws.String("ingot:expires"), Value: aws.String(soon.Format(time.RFC3339))}}}}}); err != nil {
		t.Fatal(err)
	}
	intend := func(kind ledger.Kind, name, id string, expires time.Time) ledger.Key {
		t.Helper()
		k := ledger.Key{Kind: kind, Account: account, Region: region, Name: name}
		if _, err := c.Ledger.Intend(ctx, ledger.Entry{Key: k, Run: "run-9", Expires: expires}); err != nil {
			t.Fatal(err)
		}
		if id != "" {
			if err := c.Ledger.Made(ctx, k, id); err != nil {
				t.Fatal(err)
			}
		}
		return k
	}
	intend(ledger.Snapshot, "token-1", expired, soon)
	intend(ledger.Snapshot, "token-2", fresh, late)
	intend(ledger.Image, "never made", "", soon)

	g := &gc.Collector{Clients: c.Clients, Catalog: c.Catalog, Ledger: c.Ledger, Now: c.Now}
	find := func() (ids []string) {
		t.Helper()
		all, err := g.Find(ctx, []string{region})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			ids = append(ids, string(o.Kind)+" "+o.ID)
		}
		return ids
	}
	if got := find(); len(got) != 0 {
		t.Errorf("before anything has expired: %v", got)
	}
	c.Turn(2 * time.Hour)
	pair, err := client.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{"throwaway"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"key-pair " + *pair.KeyPairs[0].KeyPairId, "image " + *unfinished.ImageId, "image never made", "snapshot " + expired}
	if got := find(); !slices.Equal(got, want) {
		t.Fatalf("found %v\nnot   %v", got, want)
	}
	orphans, err := g.Find(ctx, []string{region})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Remove(ctx, orphans); err != nil {
		t.Fatal(err)
	}
	if got := find(); len(got) != 0 {
		t.Errorf("after removing: %v", got)
	}
	left := c.Snapshots(region)
	slices.Sort(left)
	kept := []string{fresh, untagged, owned.SnapshotID}
	slices.Sort(kept)
	if !slices.Equal(left, kept) {
		t.Errorf("the snapshots left are %v, not %v", left, kept)
	}
	if c.Image(owned) == nil {
		t.Error("the release's image is gone")
	}
	entries, err := c.Ledger.List(ctx, ledger.Filter{State: ledger.Made})
	if err != nil || len(entries) != 1 || entries[0].ID != fresh {
		t.Errorf("the ledger has %+v (%v)", entries, err)
	}
}

// Orphans that have found an owner since they were listed are not removed.
func TestOwnedMeanwhile(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t, region)
	release := c.Release("a-1")
	g := &gc.Collector{Clients: c.Clients, Catalog: c.Catalog, Ledger: c.Ledger, Now: c.Now}
	results, err := g.Remove(t.Context(), []gc.Orphan{{Kind: ledger.Image, Region: region, ID: release.AMIs[0].ImageID}})
	if err != nil || len(results) != 0 || c.Image(release.AMIs[0]) == nil {
		t.Errorf("removed %+v (%v)", results, err)
	}
}
