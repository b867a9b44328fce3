package region

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"ingot/internal/region/blocks"
)

// fixture is a region that is served, with clients of it. Every exchange is checked against the service
// models of botocore, where they are installed.
type fixture struct {
	t      *testing.T
	region *Region
	url    string
	ebs    *awsebs.Client
	ec2    *awsec2.Client
	close  func() // ends the server, and the region
}

func newFixture(t *testing.T, opt Options) *fixture {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	if opt.Regions == nil {
		opt.Regions = []string{"us-east-1", "eu-north-1"}
	}
	if testing.Verbose() {
		opt.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	r, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(checkModel(t, r))
	f := &fixture{t: t, region: r, url: srv.URL}
	f.close = sync.OnceFunc(func() {
		srv.Close()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(f.close)
	cfg := f.config("us-east-1", r.Credentials())
	f.ebs, f.ec2 = awsebs.NewFromConfig(cfg), awsec2.NewFromConfig(cfg)
	return f
}

func (f *fixture) config(region string, c aws.Credentials) aws.Config {
	return aws.Config{Region: region, BaseEndpoint: &f.url, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)}
}

// block returns a block of one letter, and its checksum.
func block(letter byte) ([]byte, blocks.Sum) {
	data := bytes.Repeat([]byte{letter}, blocks.Size)
	return data, sha256.Sum256(data)
}

func encode(sum blocks.Sum) *string { return aws.String(base64.StdEncoding.EncodeToString(sum[:])) }

func putInput(id string, index int32, letter byte) *awsebs.PutSnapshotBlockInput {
	data, sum := block(letter)
	return &awsebs.PutSnapshotBlockInput{SnapshotId: &id, BlockIndex: &index, BlockData: bytes.NewReader(data), Checksum: encode(sum),
		ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256, DataLength: aws.Int32(blocks.Size)}
}

func (f *fixture) put(id string, index int32, letter byte) {
	f.t.Helper()
	if _, err := f.ebs.PutSnapshotBlock(f.t.Context(), putInput(id, index, letter)); err != nil {
		f.t.Fatal(err)
	}
}

// snapshot makes a snapshot of size GiB whose blocks are the letters of text; a space is a block not put.
func (f *fixture) snapshot(size int64, text, parent string) string {
	f.t.Helper()
	in := &awsebs.StartSnapshotInput{VolumeSize: &size, Description: aws.String("of " + f.t.Name())}
	if parent != "" {
		in.ParentSnapshotId = &parent
	}
	out, err := f.ebs.StartSnapshot(f.t.Context(), in)
	if err != nil {
		f.t.Fatal(err)
	}
	h := sha256.New()
	n := int32(0)
	for i := range len(text) {
		if text[i] != ' ' {
			_, sum := block(text[i])
			h.Write(sum[:])
			f.put(*out.SnapshotId, int32(i), text[i])
			n++
		}
	}
	_, err = f.ebs.CompleteSnapshot(f.t.Context(), &awsebs.CompleteSnapshotInput{SnapshotId: out.SnapshotId, ChangedBlocksCount: &n,
		Checksum: encode(blocks.Sum(h.Sum(nil))), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
		ChecksumAggregationMethod: ebstypes.ChecksumAggregationMethodChecksumAggregationLinear})
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.SnapshotId
}

func registration(name, snapshot string) *awsec2.RegisterImageInput {
	return &awsec2.RegisterImageInput{Name: &name, Architecture: ec2types.ArchitectureValuesX8664, VirtualizationType: aws.String("hvm"),
		EnaSupport: aws.Bool(true), SriovNetSupport: aws.String("simple"), BootMode: ec2types.BootModeValuesUefiPreferred,
		ImdsSupport: ec2types.ImdsSupportValuesV20, RootDeviceName: aws.String("/dev/xvda"), Description: aws.String("a test"),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{
			SnapshotId: &snapshot, VolumeType: ec2types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true)}}},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeImage,
			Tags: []ec2types.Tag{{Key: aws.String("colour"), Value: aws.String("blue <&>")}}}}}
}

func (f *fixture) register(name string) (image, snapshot string) {
	f.t.Helper()
	snapshot = f.snapshot(1, "ab", "")
	out, err := f.ec2.RegisterImage(f.t.Context(), registration(name, snapshot))
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.ImageId, snapshot
}

// code returns the error code of an API error, or the text of another error.
func code(err error) string {
	var ae smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &ae):
		return ae.ErrorCode()
	}
	return err.Error()
}

// clock is a clock that tests turn.
type clock struct{ ahead time.Duration }

func (c *clock) now() time.Time { return time.Now().Add(c.ahead) }

func TestImageLife(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	ctx := t.Context()
	id, snap := f.register("first")
	images, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	got := images.Images[0]
	root := got.BlockDeviceMappings[0].Ebs
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"name", *got.Name, "first"},
		{"architecture", got.Architecture, ec2types.ArchitectureValuesX8664},
		{"boot mode", got.BootMode, ec2types.BootModeValuesUefiPreferred},
		{"IMDS", got.ImdsSupport, ec2types.ImdsSupportValuesV20},
		{"ENA", *got.EnaSupport, true},
		{"SR-IOV", *got.SriovNetSupport, "simple"},
		{"public", *got.Public, false},
		{"tag", *got.Tags[0].Value, "blue <&>"},
		{"root snapshot", *root.SnapshotId, snap},
		{"root size", *root.VolumeSize, int32(1)},
		{"root type", root.VolumeType, ec2types.VolumeTypeGp3},
		{"root IOPS", *root.Iops, int32(3000)},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
		}
	}
	if _, err := f.ec2.ModifyImageAttribute(ctx, &awsec2.ModifyImageAttributeInput{ImageId: &id, LaunchPermission: &ec2types.LaunchPermissionModifications{
		Add: []ec2types.LaunchPermission{{Group: ec2types.PermissionGroupAll}, {UserId: aws.String("123456789012")}}}}); err != nil {
		t.Fatal(err)
	}
	attr, err := f.ec2.DescribeImageAttribute(ctx, &awsec2.DescribeImageAttributeInput{ImageId: &id, Attribute: ec2types.ImageAttributeNameLaunchPermission})
	if err != nil || len(attr.LaunchPermissions) != 2 || attr.LaunchPermissions[0].Group != ec2types.PermissionGroupAll {
		t.Errorf("launch permissions %+v, %v", attr, err)
	}
	images, err = f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{ExecutableUsers: []string{"all"}})
	if err != nil || len(images.Images) != 1 || images.Images[0].DeprecationTime == nil {
		t.Errorf("public images %+v, %v", images, err)
	}
	other := awsec2.NewFromConfig(f.config("eu-north-1", f.region.Credentials()))
	if images, err = other.DescribeImages(ctx, &awsec2.DescribeImagesInput{}); err != nil || len(images.Images) != 0 {
		t.Errorf("another region has %+v, %v", images, err)
	}
	if _, err := f.ec2.DeleteSnapshot(ctx, &awsec2.DeleteSnapshotInput{SnapshotId: &snap}); code(err) != "InvalidSnapshot.InUse" {
		t.Errorf("deleting a snapshot in use: %v", err)
	}
	gone, err := f.ec2.DeregisterImage(ctx, &awsec2.DeregisterImageInput{ImageId: &id, DeleteAssociatedSnapshots: aws.Bool(true)})
	if err != nil || len(gone.DeleteSnapshotResults) != 1 || gone.DeleteSnapshotResults[0].ReturnCode != ec2types.SnapshotReturnCodesSuccess {
		t.Errorf("deregistering: %+v, %v", gone, err)
	}
	if _, err := f.ec2.DeregisterImage(ctx, &awsec2.DeregisterImageInput{ImageId: &id}); code(err) != "InvalidAMIID.Unavailable" {
		t.Errorf("deregistering twice: %v", err)
	}
	if entries := storedBlocks(t, f.region); entries != 0 {
		t.Errorf("%d blocks are left", entries)
	}
}

func TestFiltersAndPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	for _, name := range []string{"debian-12-a", "debian-12-b", "arch-std"} {
		f.register(name)
	}
	for _, c := range []struct {
		name  string
		value []string
		want  int
	}{
		{"name", []string{"debian-*"}, 2}, {"name", []string{"debian-12-?"}, 2}, {"name", []string{"arch-std", "debian-12-a"}, 2},
		{"name", []string{"debian"}, 0}, {"tag:colour", []string{"blue*"}, 3}, {"tag:colour", []string{"red"}, 0}, {"tag-key", []string{"colour"}, 3},
		{"is-public", []string{"true"}, 0}, {"root-device-type", []string{"ebs"}, 3}, {"block-device-mapping.volume-size", []string{"1"}, 3},
		{"architecture", []string{"arm64"}, 0}, {"state", []string{"available"}, 3},
	} {
		out, err := f.ec2.DescribeImages(t.Context(), &awsec2.DescribeImagesInput{Filters: []ec2types.Filter{{Name: &c.name, Values: c.value}}})
		if err != nil || len(out.Images) != c.want {
			t.Errorf("%s=%v: %d images, %v; want %d", c.name, c.value, len(out.Images), err, c.want)
		}
	}
	pages := awsec2.NewDescribeImagesPaginator(f.ec2, &awsec2.DescribeImagesInput{MaxResults: aws.Int32(2)})
	var names []string
	for pages.HasMorePages() {
		p, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range p.Images {
			names = append(names, *i.Name)
		}
	}
	if got := strings.Join(names, " "); got != "debian-12-a debian-12-b arch-std" {
		t.Errorf("pages have %s", got)
	}
}

// TestPagesWhileDeleting deletes what each page lists before it asks for the next, as those do who clean up.
func TestPagesWhileDeleting(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	const all = 12
	for range all {
		f.snapshot(1, "", "")
	}
	pages := awsec2.NewDescribeSnapshotsPaginator(f.ec2, &awsec2.DescribeSnapshotsInput{MaxResults: aws.Int32(5)})
	deleted := 0
	for pages.HasMorePages() {
		p, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Snapshots {
			if _, err := f.ec2.DeleteSnapshot(t.Context(), &awsec2.DeleteSnapshotInput{SnapshotId: s.SnapshotId}); err != nil {
				t.Fatal(err)
			}
			deleted++
		}
	}
	if deleted != all {
		t.Errorf("%d of %d snapshots were listed", deleted, all)
	}
}

func TestZoneIDs(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{"us-east-1": "use1-az1", "ap-northeast-1": "apne1-az1", "cn-north-1": "cnn1-az1", "cn-northwest-1": "cnnw1-az1",
		"us-gov-east-1": "usge1-az1", "us-gov-west-1": "usgw1-az1"} {
		if got := (&area{name: region}).zones()[0].ID; got != want {
			t.Errorf("the first zone of %s is %s, not %s", region, got, want)
		}
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, opt := t.Context(), Options{Dir: dir, Regions: []string{"us-east-1"}}
	r, err := Open(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, opt); err == nil {
		t.Error("the state was opened twice")
	}
	srv := httptest.NewServer(r)
	f := &fixture{t: t, region: r, url: srv.URL}
	cfg := f.config("us-east-1", r.Credentials())
	f.ebs, f.ec2 = awsebs.NewFromConfig(cfg), awsec2.NewFromConfig(cfg)
	id, snap := f.register("kept")
	half, err := f.ebs.StartSnapshot(ctx, &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	f.put(*half.SnapshotId, 7, 'h')
	srv.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, opt)
	images, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil || *images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId != snap {
		t.Fatalf("after a restart: %+v, %v", images, err)
	}
	f.put(*half.SnapshotId, 9, 'i')
	if _, err := f.ebs.CompleteSnapshot(ctx, &awsebs.CompleteSnapshotInput{SnapshotId: half.SnapshotId, ChangedBlocksCount: aws.Int32(2)}); err != nil {
		t.Error(err)
	}
	if got := f.read(snap); got != "ab" {
		t.Errorf("the snapshot reads %q", got)
	}
	if got := f.read(*half.SnapshotId); got != "       h i" {
		t.Errorf("the interrupted snapshot reads %q", got)
	}
}

// read lists a snapshot and reads its blocks, into the form that fixture.snapshot takes.
func (f *fixture) read(id string) string {
	f.t.Helper()
	text := []byte{}
	pages := awsebs.NewListSnapshotBlocksPaginator(f.ebs, &awsebs.ListSnapshotBlocksInput{SnapshotId: &id, MaxResults: aws.Int32(100)})
	for pages.HasMorePages() {
		p, err := pages.NextPage(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		for _, b := range p.Blocks {
			data := f.get(id, *b.BlockIndex, *b.BlockToken)
			for int(*b.BlockIndex) > len(text) {
				text = append(text, ' ')
			}
			text = append(text, data)
		}
	}
	return string(text)
}

// get reads a block that is one letter.
func (f *fixture) get(id string, index int32, token string) byte {
	f.t.Helper()
	out, err := f.ebs.GetSnapshotBlock(context.Background(), &awsebs.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: &index, BlockToken: &token})
	if err != nil {
		f.t.Fatal(err)
	}
	defer out.BlockData.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(out.BlockData); err != nil || b.Len() != blocks.Size {
		f.t.Fatalf("block %d of %s: %d bytes, %v", index, id, b.Len(), err)
	}
	if _, sum := block(b.Bytes()[0]); *out.Checksum != *encode(sum) {
		f.t.Fatalf("block %d of %s has another checksum", index, id)
	}
	return b.Bytes()[0]
}
