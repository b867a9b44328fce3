package region

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// awsCLI is Debian's; another one on the PATH may be of any age.
const awsCLI = "/usr/bin/aws"

// aws runs the AWS CLI and returns what it printed: JSON, or an error's text.
func (f *fixture) aws(args ...string) (map[string]any, string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, awsCLI, append([]string{"--endpoint-url", f.url, "--region", "us-east-1", "--output", "json"}, args...)...)
	c := f.region.Credentials()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + f.t.TempDir(), "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1",
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_PAGER="}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if cmd.Run() != nil {
		return nil, stderr.String()
	}
	out := map[string]any{}
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil && stdout.Len() > 0 {
		f.t.Fatalf("aws %v printed %s: %v", args, stdout.String(), err)
	}
	return out, ""
}

// must runs the AWS CLI and returns the string at a path of keys and the first items of lists.
func (f *fixture) must(path string, args ...string) string {
	f.t.Helper()
	out, fail := f.aws(args...)
	if fail != "" {
		f.t.Fatalf("aws %v: %s", args, fail)
	}
	var v any = out
	for key := range strings.FieldsSeq(path) {
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[0]
		}
		m, ok := v.(map[string]any)
		if !ok || m[key] == nil {
			f.t.Fatalf("aws %v: no %s in %v", args, path, out)
		}
		v = m[key]
	}
	s, _ := v.(string)
	return s
}

// TestAWSCLI walks the road of a user: put blocks, register, launch, look, terminate, clean up.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the AWS CLI takes a second for each command")
	}
	if _, err := os.Stat(awsCLI); err != nil {
		t.Skip("awscli is not installed")
	}
	f := newFixture(t, Options{Machines: &fakeRunner{}})
	data, sum := block('w')
	file := filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := f.must("Account", "sts", "get-caller-identity"); got != "000000000000" {
		t.Errorf("the account is %s", got)
	}
	snap := f.must("SnapshotId", "ebs", "start-snapshot", "--volume-size", "1", "--tags", "Key=a,Value=b")
	f.must("Checksum", "ebs", "put-snapshot-block", "--snapshot-id", snap, "--block-index", "3", "--block-data", file, "--data-length", "524288",
		"--checksum", *encode(sum), "--checksum-algorithm", "SHA256")
	f.must("Status", "ebs", "complete-snapshot", "--snapshot-id", snap, "--changed-blocks-count", "1")
	token := f.must("Blocks BlockToken", "ebs", "list-snapshot-blocks", "--snapshot-id", snap)
	f.must("Checksum", "ebs", "get-snapshot-block", "--snapshot-id", snap, "--block-index", "3", "--block-token", token, file+".back")
	if back, err := os.ReadFile(file + ".back"); err != nil || !bytes.Equal(back, data) {
		t.Errorf("the block came back as %d bytes, %v", len(back), err)
	}
	f.must("", "ec2", "wait", "snapshot-completed", "--snapshot-ids", snap)
	image := f.must("ImageId", "ec2", "register-image", "--name", "cli", "--architecture", "x86_64", "--virtualization-type", "hvm", "--ena-support",
		"--boot-mode", "uefi", "--imds-support", "v2.0", "--root-device-name", "/dev/xvda",
		"--block-device-mappings", `[{"DeviceName":"/dev/xvda","Ebs":{"SnapshotId":"`+snap+`","VolumeSize":2,"VolumeType":"gp3"}}]`)
	f.must("", "ec2", "wait", "image-available", "--image-ids", image)
	f.must("", "ec2", "modify-image-attribute", "--image-id", image, "--launch-permission", "Add=[{Group=all}]")
	if got := f.must("Images Name", "ec2", "describe-images", "--owners", "self", "--executable-users", "all", "--filters", "Name=name,Values=c*"); got != "cli" {
		t.Errorf("the image's name is %s", got)
	}
	if key := f.must("KeyMaterial", "ec2", "create-key-pair", "--key-name", "k", "--key-type", "ed25519"); !strings.HasPrefix(key, "-----BEGIN OPENSSH") {
		t.Errorf("the key is %q", key)
	}
	id := f.must("Instances InstanceId", "ec2", "run-instances", "--image-id", image, "--instance-type", "t3.micro", "--key-name", "k", "--count", "1",
		"--user-data", "#cloud-config", "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=n}]")
	f.await(id, "running") // the CLI's own wait sleeps for 15 seconds if it is not the first time
	f.must("", "ec2", "wait", "instance-running", "--instance-ids", id)
	f.awaitReachable(id)
	f.must("", "ec2", "wait", "instance-status-ok", "--instance-ids", id)
	if got := f.must("Reservations Instances PublicIpAddress", "ec2", "describe-instances", "--instance-ids", id); !strings.HasPrefix(got, "127.") {
		t.Errorf("the instance's address is %s", got)
	}
	if got := f.must("Output", "ec2", "get-console-output", "--instance-id", id); got != "hello\n" {
		t.Errorf("the console says %q", got)
	}
	f.must("TerminatingInstances CurrentState Name", "ec2", "terminate-instances", "--instance-ids", id)
	f.await(id, "terminated")
	f.must("", "ec2", "wait", "instance-terminated", "--instance-ids", id)
	f.must("", "ec2", "create-tags", "--resources", image, "--tags", "Key=x,Value=y")
	f.must("", "ec2", "delete-tags", "--resources", image, "--tags", "Key=x")
	f.must("RegionName", "ec2", "describe-availability-zones", "--query", "AvailabilityZones[0]")
	f.must("", "ec2", "deregister-image", "--image-id", image)
	if _, fail := f.aws("ec2", "deregister-image", "--image-id", image); !strings.Contains(fail, "InvalidAMIID.Unavailable") {
		t.Errorf("deregistering twice: %s", fail)
	}
	f.must("", "ec2", "delete-snapshot", "--snapshot-id", snap)
	if out, fail := f.aws("ec2", "describe-snapshots", "--owner-ids", "self"); fail != "" || len(out["Snapshots"].([]any)) != 0 {
		t.Errorf("snapshots left: %v %s", out, fail)
	}
}
