package region

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// packer is Debian's; another program of the name may be on the PATH.
const packer = "/usr/bin/packer"

// busyRunner starts machines that write to their second disk, as a surrogate instance does.
type busyRunner struct{ fakeRunner }

func (b *busyRunner) Start(ctx context.Context, l Launch) (Running, error) {
	if len(l.Volumes) > 0 {
		data, _ := block('p')
		f, err := os.OpenFile(l.Volumes[0].Path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if _, err := f.WriteAt(data, 0); err != nil {
			return nil, err
		}
	}
	return b.fakeRunner.Start(ctx, l)
}

// TestPacker has Debian's packer build an AMI with amazon-ebssurrogate, all of it but what happens inside the guest.
func TestPacker(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(packer); err != nil {
		t.Skip("packer is not installed")
	}
	if testing.Short() {
		t.Skip("packer waits for several seconds between its questions")
	}
	f := newFixture(t, Options{Machines: &busyRunner{}})
	source, _ := f.register("source")
	builder := map[string]any{"communicator": "none", "instance_type": "t3.micro", "source_ami": source,
		"ami_name": "built by packer", "ami_virtualization_type": "hvm", "ena_support": true, "ami_regions": []string{"eu-north-1"},
		"launch_block_device_mappings": []map[string]any{{"device_name": "/dev/xvdf", "volume_size": 1, "volume_type": "gp2", "delete_on_termination": true}},
		"ami_root_device":              map[string]any{"source_device_name": "/dev/xvdf", "device_name": "/dev/xvda", "volume_size": 2, "volume_type": "gp2", "delete_on_termination": true},
		"ami_users":                    []string{"123456789012"}, "tags": map[string]string{"made-by": "packer"}, "run_tags": map[string]string{"Name": "surrogate"}}
	RunPacker(t, f.url, f.region.Credentials(), map[string]any{"builders": []any{builder}})

	ctx := t.Context()
	images, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{Filters: []ec2types.Filter{{Name: aws.String("name"), Values: []string{"built by packer"}}}})
	if err != nil || len(images.Images) != 1 {
		t.Fatalf("the image: %+v, %v", images, err)
	}
	i := images.Images[0]
	root := i.BlockDeviceMappings[0].Ebs
	// packer registers the device that it launched with, under the name of ami_root_device, whose volume_size it asks for and does not use.
	if *i.RootDeviceName != "/dev/xvda" || *i.BlockDeviceMappings[0].DeviceName != "/dev/xvda" || *root.VolumeSize != 1 || root.VolumeType != ec2types.VolumeTypeGp2 || !*root.DeleteOnTermination {
		t.Errorf("its root is %s, %s, %d GiB, %s, %v", *i.RootDeviceName, *i.BlockDeviceMappings[0].DeviceName, *root.VolumeSize, root.VolumeType, *root.DeleteOnTermination)
	}
	if !aws.ToBool(i.EnaSupport) || i.TpmSupport != "" || i.VirtualizationType != ec2types.VirtualizationTypeHvm || i.Architecture != ec2types.ArchitectureValuesX8664 {
		t.Errorf("it is registered with ENA %v, TPM %q, %s, %s", aws.ToBool(i.EnaSupport), i.TpmSupport, i.VirtualizationType, i.Architecture)
	}
	if len(i.Tags) != 1 || *i.Tags[0].Key != "made-by" || *i.Tags[0].Value != "packer" {
		t.Errorf("its tags are %+v", i.Tags)
	}
	if got := f.read(*root.SnapshotId); got != "p" {
		t.Errorf("its snapshot reads %q", got)
	}
	attr, err := f.ec2.DescribeImageAttribute(ctx, &awsec2.DescribeImageAttributeInput{ImageId: i.ImageId, Attribute: ec2types.ImageAttributeNameLaunchPermission})
	if err != nil || len(attr.LaunchPermissions) != 1 || *attr.LaunchPermissions[0].UserId != "123456789012" {
		t.Errorf("its permissions are %+v, %v", attr, err)
	}
	there, err := awsec2.NewFromConfig(f.config("eu-north-1", f.region.Credentials())).DescribeImages(ctx, &awsec2.DescribeImagesInput{})
	if err != nil || len(there.Images) != 1 {
		t.Errorf("its copy: %+v, %v", there, err)
	}
	f.nothingLeft()
}

// RunPacker runs Debian's packer on a template, and returns what it said.
func RunPacker(t *testing.T, url string, c aws.Credentials, template map[string]any) string {
	t.Helper()
	builder := template["builders"].([]any)[0].(map[string]any)
	maps.Copy(builder, map[string]any{"type": "amazon-ebssurrogate", "region": "us-east-1", "custom_endpoint_ec2": url, "skip_region_validation": true,
		"skip_credential_validation": true, "skip_metadata_api_check": true})
	text, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "template.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, packer, "build", "-color=false", path)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "CHECKPOINT_DISABLE=1", "AWS_POLL_DELAY_SECONDS=1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "PACKER_CACHE_DIR=" + dir, "TMPDIR=" + dir}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("packer: %v\n%s", err, out.String())
	}
	t.Logf("packer says\n%s", out.String())
	return out.String()
}

// nothingLeft checks that a build took away what it made beside its image.
func (f *fixture) nothingLeft() {
	f.t.Helper()
	ctx := f.t.Context()
	volumes, err := f.ec2.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{})
	if err != nil || len(volumes.Volumes) != 0 {
		f.t.Errorf("volumes left: %+v, %v", volumes, err)
	}
	keys, err := f.ec2.DescribeKeyPairs(ctx, &awsec2.DescribeKeyPairsInput{})
	if err != nil || len(keys.KeyPairs) != 0 {
		f.t.Errorf("key pairs left: %+v, %v", keys, err)
	}
	groups, err := f.ec2.DescribeSecurityGroups(ctx, &awsec2.DescribeSecurityGroupsInput{})
	if err != nil || len(groups.SecurityGroups) != 1 {
		f.t.Errorf("security groups left: %+v, %v", groups, err)
	}
	instances, err := f.ec2.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: aws.String("instance-state-name"),
		Values: []string{"pending", "running", "stopping", "stopped", "shutting-down"}}}})
	if err != nil || len(instances.Reservations) != 0 {
		f.t.Errorf("instances left: %+v, %v", instances, err)
	}
}
