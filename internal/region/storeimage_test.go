package region

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ingot/internal/bundle"
	"ingot/internal/imds"
)

// testBundle bundles an image of 3 MiB and returns the folder of the parts and the manifest.
func (f *fixture) bundle(edit func(*bundle.Options)) string {
	f.t.Helper()
	dir := f.t.TempDir()
	path, err := f.region.BundleCertificate()
	if err != nil {
		f.t.Fatal(err)
	}
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			f.t.Fatal(err)
		}
		return text
	}
	cert, err := bundle.ParseCertificate(read(path))
	if err != nil {
		f.t.Fatal(err)
	}
	key, err := bundle.ParseKey(read("../bundle/testdata/test-user-key.pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	o := bundle.Options{Dir: dir, Prefix: "image", User: f.region.opt.AccountID, Key: key, EC2: cert.PublicKey, Architecture: "x86_64", PartSize: 1000,
		BlockDevices: []bundle.BlockDevice{{Virtual: "root", Device: "/dev/xvda"}, {Virtual: "ami", Device: "xvda"}}}
	if edit != nil {
		edit(&o)
	}
	letter, _ := block('s')
	content := append(letter, make([]byte, 3<<20-len(letter))...)
	image := &bundle.Image{ReaderAt: bytes.NewReader(content), Size: 3 << 20, Data: []bundle.Extent{{Offset: 0, Length: 3 << 20}}}
	if _, err := bundle.Create(f.t.Context(), image, o, nil); err != nil {
		f.t.Fatal(err)
	}
	return dir
}

// upload puts a folder's files into a bucket, below bundles/.
func (f *fixture) upload(bucket, dir string, acl types.ObjectCannedACL) {
	f.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			f.t.Fatal(err)
		}
		_, err = f.s3("us-east-1").PutObject(context.Background(), &awss3.PutObjectInput{Bucket: &bucket, Key: aws.String("bundles/" + e.Name()), Body: bytes.NewReader(text), ACL: acl})
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

func storeRegistration(name, location string) *awsec2.RegisterImageInput {
	return &awsec2.RegisterImageInput{Name: &name, ImageLocation: &location, VirtualizationType: aws.String("hvm"), SriovNetSupport: aws.String("simple")}
}

// image waits until an image is no longer pending.
func (f *fixture) image(id string) ec2types.Image {
	f.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := f.ec2.DescribeImages(f.t.Context(), &awsec2.DescribeImagesInput{ImageIds: []string{id}})
		if err != nil {
			f.t.Fatal(err)
		}
		if i := out.Images[0]; i.State != ec2types.ImageStatePending || time.Now().After(deadline) {
			return i
		}
	}
}

// An image whose manifest is in S3 is registered, described, launched on a type that takes it, and nothing of it
// survives the instance.
func TestStoreImage(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	f.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
	f.upload("images", f.bundle(nil), "aws-exec-read")
	const location = "images/bundles/image.manifest.xml"
	out, err := f.ec2.RegisterImage(t.Context(), storeRegistration("store", location))
	if err != nil {
		t.Fatal(err)
	}
	i := f.image(*out.ImageId)
	if i.State != ec2types.ImageStateAvailable || i.RootDeviceType != ec2types.DeviceTypeInstanceStore || *i.ImageLocation != location ||
		i.Architecture != ec2types.ArchitectureValuesX8664 || *i.RootDeviceName != "/dev/xvda" || len(i.BlockDeviceMappings) != 0 {
		t.Errorf("%+v", i)
	}
	id := f.run(*out.ImageId, func(in *awsec2.RunInstancesInput) { in.InstanceType = "m3.medium" })
	instance := f.await(id, ec2types.InstanceStateNameRunning)
	if instance.RootDeviceType != ec2types.DeviceTypeInstanceStore || len(instance.BlockDeviceMappings) != 0 {
		t.Errorf("%+v", instance)
	}
	letter, _ := block('s')
	if d := runner.disks[0]; d.size != 3<<20 || !bytes.HasPrefix(d.head, letter) || len(bytes.Trim(d.head[len(letter):], "\x00")) > 0 {
		t.Errorf("the disk of %d bytes is not the bundled image", d.size)
	}
	if l := runner.launches[0]; l.Manifest != location || l.UEFI || imdsPath(l.metadata()) != location {
		t.Errorf("%+v", l)
	}
	runner.machines[0].Kill()
	f.await(id, ec2types.InstanceStateNameTerminated)
	if _, err := f.ec2.DeregisterImage(t.Context(), &awsec2.DeregisterImageInput{ImageId: out.ImageId}); err != nil {
		t.Error(err)
	}
}

func imdsPath(i imds.Instance) string { return i.ManifestPath }

func TestStoreImageRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Machines: &fakeRunner{}})
	good := f.bundle(nil)
	f.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
	f.upload("images", good, "aws-exec-read")
	f.bucket("private", types.ObjectOwnershipBucketOwnerPreferred)
	f.upload("private", good, "private")
	other := func(bucket string, edit func(*bundle.Options), change func(dir string)) {
		dir := f.bundle(edit)
		if change != nil {
			change(dir)
		}
		f.bucket(bucket, types.ObjectOwnershipBucketOwnerPreferred)
		f.upload(bucket, dir, "aws-exec-read")
	}
	other("account", func(o *bundle.Options) { o.User = "123456789012" }, nil)
	other("foreign", func(o *bundle.Options) { o.EC2 = &o.Key.PublicKey }, nil)
	other("lacking", nil, func(dir string) { os.Remove(filepath.Join(dir, "image.part.1")) })
	other("garbled", nil, func(dir string) { _ = os.WriteFile(filepath.Join(dir, "image.manifest.xml"), []byte("<html/>"), 0o644) })
	for _, c := range []struct {
		name string
		edit func(in *awsec2.RegisterImageInput)
		want string
		text string
	}{
		{"no bucket", func(in *awsec2.RegisterImageInput) { in.ImageLocation = aws.String("nowhere/x.manifest.xml") }, "InvalidManifest", "404 (Not Found)"},
		{"no manifest", func(in *awsec2.RegisterImageInput) { in.ImageLocation = aws.String("images/x.manifest.xml") }, "InvalidManifest", "404 (Not Found)"},
		{"no grant", func(in *awsec2.RegisterImageInput) {
			in.ImageLocation = aws.String("private/bundles/image.manifest.xml")
		}, "InvalidManifest", "403 (Forbidden)"},
		{"another's account", func(in *awsec2.RegisterImageInput) {
			in.ImageLocation = aws.String("account/bundles/image.manifest.xml")
		}, "AuthFailure", "123456789012"},
		{"another's key", func(in *awsec2.RegisterImageInput) {
			in.ImageLocation = aws.String("foreign/bundles/image.manifest.xml")
		}, "InvalidManifest", "decrypting"},
		{"a part missing", func(in *awsec2.RegisterImageInput) {
			in.ImageLocation = aws.String("lacking/bundles/image.manifest.xml")
		}, "InvalidManifest", "image.part.1"},
		{"no manifest at all", func(in *awsec2.RegisterImageInput) {
			in.ImageLocation = aws.String("garbled/bundles/image.manifest.xml")
		}, "InvalidManifest", "unparsable"},
		{"a bad name", func(in *awsec2.RegisterImageInput) { in.Name = aws.String("st!") }, "InvalidAMIName.Malformed", ""},
		{"dry run", func(in *awsec2.RegisterImageInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation", ""},
	} {
		in := storeRegistration("store", "images/bundles/image.manifest.xml")
		c.edit(in)
		if _, err := f.ec2.RegisterImage(t.Context(), in); code(err) != c.want || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %s with %q", c.name, err, c.want, c.text)
		}
	}
	eu := awsec2.NewFromConfig(f.config("eu-north-1", f.region.Credentials()))
	if _, err := eu.RegisterImage(t.Context(), storeRegistration("store", "images/bundles/image.manifest.xml")); code(err) != "InvalidManifest" {
		t.Errorf("from another region: %v", err)
	}
	out, err := f.ec2.RegisterImage(t.Context(), storeRegistration("store", "images/bundles/image.manifest.xml"))
	if err != nil {
		t.Fatal(err)
	}
	f.image(*out.ImageId)
	for _, c := range []struct {
		name string
		edit func(in *awsec2.RunInstancesInput)
		want string
	}{
		{"a type without instance store", func(in *awsec2.RunInstancesInput) { in.InstanceType = "t3.micro" }, "UnsupportedOperation"},
		{"a type of paravirtual images", func(in *awsec2.RunInstancesInput) { in.InstanceType = "m1.large" }, "InvalidParameterCombination"},
		{"stopping", func(in *awsec2.RunInstancesInput) {
			in.InstanceInitiatedShutdownBehavior = ec2types.ShutdownBehaviorStop
		}, "UnsupportedOperation"},
		{"a volume", func(in *awsec2.RunInstancesInput) {
			in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(8)}}}
		}, "InvalidBlockDeviceMapping"},
	} {
		in := &awsec2.RunInstancesInput{ImageId: out.ImageId, InstanceType: "c3.large", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
		c.edit(in)
		if _, err := f.ec2.RunInstances(t.Context(), in); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	ebs, _ := f.register("ebs")
	in := &awsec2.RunInstancesInput{ImageId: &ebs, InstanceType: "c3.large", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
	if _, err := f.ec2.RunInstances(t.Context(), in); code(err) != "Unsupported" {
		t.Errorf("an image on EBS on a type of Xen: %v", err)
	}
}

// A bundle that was tampered with is found out by reading it: the image fails, also when the server was stopped
// meanwhile. One that is deleted later fails its launches.
func TestStoreImageIsRead(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	f.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
	dir := f.bundle(nil)
	f.upload("images", dir, "aws-exec-read")
	out, err := f.ec2.RegisterImage(t.Context(), storeRegistration("good", "images/bundles/image.manifest.xml"))
	if err != nil {
		t.Fatal(err)
	}
	f.image(*out.ImageId)
	part := filepath.Join(dir, "image.part.1")
	text, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	text[5] ^= 1
	if err := os.WriteFile(part, text, 0o644); err != nil {
		t.Fatal(err)
	}
	f.upload("images", dir, "aws-exec-read")
	bad, err := f.ec2.RegisterImage(t.Context(), storeRegistration("bad", "images/bundles/image.manifest.xml"))
	if err != nil {
		t.Fatal(err)
	}
	i := f.image(*bad.ImageId)
	if i.State != ec2types.ImageStateFailed || !strings.Contains(aws.ToString(i.StateReason.Message), "the part image.part.1 has the SHA-1") {
		t.Errorf("%+v", i)
	}
	in := &awsec2.RunInstancesInput{ImageId: bad.ImageId, InstanceType: "c3.large", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
	if _, err := f.ec2.RunInstances(t.Context(), in); code(err) != "InvalidAMIID.Unavailable" {
		t.Errorf("launching a failed image: %v", err)
	}
	id := f.run(*out.ImageId, func(in *awsec2.RunInstancesInput) { in.InstanceType = "c3.large" })
	if reason := f.await(id, ec2types.InstanceStateNameTerminated).StateReason; *reason.Code != "Server.InternalError" || len(runner.launches) != 0 {
		t.Errorf("a bundle that was changed later: %s", *reason.Message)
	}
	area := f.region.areas["us-east-1"]
	area.mu.Lock()
	pending := *area.images.rows[*bad.ImageId]
	pending.State, pending.Reason = statePending, ""
	area.images.rows[pending.ID] = &pending
	area.mu.Unlock()
	if err := area.afterSweep(nil); err != nil { // as at a start
		t.Fatal(err)
	}
	if i := f.image(pending.ID); i.State != ec2types.ImageStateFailed {
		t.Errorf("%+v", i)
	}
}
