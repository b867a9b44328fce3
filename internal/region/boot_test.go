package region_test

import (
	"bytes"
	"context"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/crypto/ssh"

	"ingot/internal/bundle"
	"ingot/internal/disk"
	"ingot/internal/machine"
	"ingot/internal/publish"
	"ingot/internal/publish/ledger"
	"ingot/internal/region"
)

func TestMain(m *testing.M) {
	machine.Main() // QEMU runs this program to carry instance metadata
	os.Exit(m.Run())
}

// TestBoot publishes an image that was built, from EBS and from a bundle in S3, launches it with the AWS CLI, logs in and
// terminates it. What the snapshot never got reads as noise. INGOT_E2E_IMAGE is the folder of the image: disk.raw and
// disk.blocks.json.
func TestBoot(t *testing.T) {
	folder := os.Getenv("INGOT_E2E_IMAGE")
	if folder == "" {
		t.Skip("INGOT_E2E_IMAGE names no image to boot")
	}
	for _, c := range []struct{ name, instance, root string }{{"EBS", "t3.micro", "ebs"}, {"instance store", "m3.medium", "instance-store"}} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
			defer cancel()
			r, err := region.Open(ctx, region.Options{Dir: t.TempDir(), Regions: []string{"us-east-1"}, Machines: region.QEMU{}, NoiseUnwritten: true})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			srv := httptest.NewServer(r)
			defer srv.Close()
			var store *publish.Store
			if c.root == "instance-store" {
				store = bundleFolder(t, r, folder)
			}
			boot(ctx, t, r, srv.URL, publishFolder(t, r, srv.URL, folder, store), c.instance, c.root)
		})
	}
}

// TestPackerBoots has Debian's packer build an AMI on a surrogate instance that boots, over SSH, and hot plugs a volume into another.
// It takes port 22 of the instance's address, as root.
func TestPackerBoots(t *testing.T) {
	folder := os.Getenv("INGOT_E2E_IMAGE")
	if folder == "" || os.Getuid() != 0 {
		t.Skip("INGOT_E2E_IMAGE names no image to boot, or this is not root")
	}
	r, err := region.Open(t.Context(), region.Options{Dir: t.TempDir(), Regions: []string{"us-east-1"}, Machines: region.QEMU{}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	srv := httptest.NewServer(r)
	defer srv.Close()
	source := publishFolder(t, r, srv.URL, folder, nil)
	volume := map[string]any{"device_name": "/dev/xvdf", "volume_size": 1, "volume_type": "gp2", "delete_on_termination": true}
	region.RunPacker(t, srv.URL, r.Credentials(), map[string]any{
		"builders": []any{map[string]any{"source_ami": source, "instance_type": "t3.small", "ssh_username": "admin", "ssh_timeout": "25m", "ssh_interface": "public_ip",
			"ami_name": "built by packer", "ami_virtualization_type": "hvm", "ena_support": true, "launch_block_device_mappings": []any{volume},
			"ami_root_device": map[string]any{"source_device_name": "/dev/xvdf", "device_name": "/dev/xvda", "volume_size": 1, "volume_type": "gp2", "delete_on_termination": true}}},
		"provisioners": []any{map[string]any{"type": "shell", "inline": []string{
			"sudo mkfs.ext4 -q /dev/nvme1n1", "sudo mount /dev/nvme1n1 /mnt", "echo from the surrogate | sudo tee /mnt/greeting", "sudo umount /mnt"}}}})
	clients := ec2.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL,
		Credentials: credentials.NewStaticCredentialsProvider(r.Credentials().AccessKeyID, r.Credentials().SecretAccessKey, "")})
	checkBuilt(t, clients, source)
}

// checkBuilt reads what packer built as a second volume of an instance, into which it is plugged while that runs.
func checkBuilt(t *testing.T, c *ec2.Client, source string) {
	ctx := t.Context()
	images, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{{Name: aws.String("name"), Values: []string{"built by packer"}}}})
	if err != nil || len(images.Images) != 1 {
		t.Fatalf("what packer built: %+v, %v", images, err)
	}
	guest, i := builder(ctx, t, c, source)
	defer guest.Close()
	ids := []string{*i.InstanceId}
	volume := plug(ctx, t, c, i, *images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId)
	said := tell(t, guest, "for n in $(seq 60); do test -e /dev/nvme1n1 && break; sleep 1; done; sudo mount /dev/nvme1n1 /mnt && cat /mnt/greeting && echo more | sudo tee /mnt/more && sudo umount /mnt")
	if !strings.Contains(said, "from the surrogate") {
		t.Errorf("the volume that was plugged in says %q", said)
	}
	if _, err := c.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: &volume}); err != nil {
		t.Fatal(err)
	}
	if err := ec2.NewVolumeAvailableWaiter(c).Wait(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{volume}}, 5*time.Minute); err != nil {
		t.Errorf("the guest did not let go of the volume: %v", err)
	}
	if _, err := c.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: ids}); err != nil {
		t.Fatal(err)
	}
	if err := ec2.NewInstanceStoppedWaiter(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, 5*time.Minute); err != nil {
		t.Error(err)
	}
}

// boot launches an image, logs in, and terminates it.
func boot(ctx context.Context, t *testing.T, r *region.Region, url, image, instance, root string) {
	cli := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, "/usr/bin/aws", append([]string{"--endpoint-url", url, "--region", "us-east-1", "--output", "text"}, args...)...)
		k := r.Credentials()
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=" + k.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + k.SecretAccessKey}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("aws %v: %v: %s", args, err, stderr.String())
		}
		return strings.TrimSpace(string(out))
	}
	if got := cli("ec2", "describe-images", "--image-ids", image, "--query", "Images[0].RootDeviceType"); got != root {
		t.Errorf("its root is %s", got)
	}
	pem := cli("ec2", "create-key-pair", "--key-name", "k", "--query", "KeyMaterial")
	id := cli("ec2", "run-instances", "--image-id", image, "--instance-type", instance, "--key-name", "k", "--query", "Instances[0].InstanceId",
		"--user-data", "#cloud-config\nwrite_files: [{path: /var/tmp/greeting, content: hello}]\n")
	status := ""
	for start := time.Now(); status != "ok"; time.Sleep(10 * time.Second) {
		status = cli("ec2", "describe-instance-status", "--instance-ids", id, "--include-all-instances", "--query", "InstanceStatuses[0].InstanceStatus.Status")
		if ctx.Err() != nil || status == "not-applicable" && time.Since(start) > 2*time.Minute {
			t.Fatalf("the status is %s; console:\n%s", status, cli("ec2", "get-console-output", "--instance-id", id))
		}
		t.Logf("%s after %s", status, time.Since(start).Round(time.Second))
	}
	ip := cli("ec2", "describe-instances", "--instance-ids", id, "--query", "Reservations[0].Instances[0].PublicIpAddress")
	port := cli("ec2", "describe-tags", "--filters", "Name=resource-id,Values="+id, "Name=key,Values=ingot:ssh-port", "--query", "Tags[0].Value")
	if port == "None" {
		port = "22"
	}
	guest := connect(t, net.JoinHostPort(ip, port), pem)
	defer guest.Close()
	said := tell(t, guest, "cloud-init status --wait; cat /var/tmp/greeting; findmnt -no SIZE /; curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/ || true")
	t.Logf("the guest says %q", said)
	if !strings.Contains(said, "status: done") || !strings.Contains(said, "hello") {
		t.Errorf("the guest says %q", said)
	}
	cli("ec2", "terminate-instances", "--instance-ids", id)
	for state := ""; state != "terminated" && ctx.Err() == nil; time.Sleep(time.Second) {
		state = cli("ec2", "describe-instances", "--instance-ids", id, "--query", "Reservations[0].Instances[0].State.Name")
	}
}

// bundleFolder bundles the image, and says where it is registered from.
func bundleFolder(t *testing.T, r *region.Region, folder string) *publish.Store {
	t.Helper()
	path, err := r.BundleCertificate()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := bundle.ParseCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile("../bundle/testdata/test-user-key.pem"); err != nil {
		t.Fatal(err)
	}
	key, err := bundle.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	image, f, err := bundle.OpenImage(filepath.Join(folder, "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir, start := t.TempDir(), time.Now()
	m, err := bundle.Create(t.Context(), image, bundle.Options{Dir: dir, Prefix: "disk", User: "000000000000", Key: key, EC2: cert.PublicKey, Architecture: "x86_64",
		BlockDevices: []bundle.BlockDevice{{Virtual: "ami", Device: "sda1"}, {Virtual: "root", Device: "/dev/sda1"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d parts bundled in %s", len(m.Parts), time.Since(start))
	return &publish.Store{Bucket: "bundles", Folder: "boot-test", Create: true,
		Manifest: func(context.Context, string) (string, error) { return filepath.Join(dir, "disk.manifest.xml"), nil }}
}

func publishFolder(t *testing.T, r *region.Region, url, folder string, store *publish.Store) string {
	t.Helper()
	f, err := os.Open(filepath.Join(folder, "disk.blocks.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := disk.DecodeMap(f)
	if err != nil {
		t.Fatal(err)
	}
	k := r.Credentials()
	clients := publish.New(aws.Config{BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")})
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	results, err := publish.Publish(t.Context(), clients, publish.Request{Ledger: l, RunID: "boot-test", Disk: filepath.Join(folder, "disk.raw"), Map: m, Name: "boot-test",
		Arch: "x86_64", BootMode: "uefi-preferred", ENA: store == nil, VolumeSize: 3, Public: true, Store: store, Regions: []string{"us-east-1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("published in %s", time.Since(start))
	return results[0].ImageID
}

// tell runs a command in the guest, and returns what it says.
func tell(t *testing.T, guest *ssh.Client, command string) string {
	t.Helper()
	session, err := guest.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out, err := session.CombinedOutput(command)
	if err != nil {
		t.Errorf("running %s: %v", command, err)
	}
	return string(out)
}

// connect logs in to the guest.
func connect(t *testing.T, addr, pem string) *ssh.Client {
	t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(pem))
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{User: "admin", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: time.Minute,
		HostKeyCallback: ssh.InsecureIgnoreHostKey()}) // a guest of this moment, on loopback
	if err != nil {
		t.Fatal(err)
	}
	return client
}
