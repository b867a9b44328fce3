package region_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
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

	"ingot/internal/region"
)

// TestNewVolumeFromInstance runs `ingot publish --volume new` on an instance of the local region: the volume is plugged into a real
// machine, whose kernel finds it, and out of it. The run is killed once in the middle. What it makes is booted. The guest reaches
// the region through its SSH connection, since a machine's own network leads to its metadata alone.
func TestNewVolumeFromInstance(t *testing.T) {
	folder := os.Getenv("INGOT_E2E_IMAGE")
	if folder == "" {
		t.Skip("INGOT_E2E_IMAGE names no image to boot")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Minute)
	defer cancel()
	r, err := region.Open(ctx, region.Options{Dir: t.TempDir(), Regions: []string{"us-east-1"}, Machines: region.QEMU{}, NoiseUnwritten: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	srv := httptest.NewServer(r)
	defer srv.Close()
	k := r.Credentials()
	c := ec2.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")})
	guest, i := builder(ctx, t, c, publishFolder(t, r, srv.URL, folder, nil))
	defer guest.Close()
	endpoint := tunnel(t, guest, srv.URL)
	carryPapers(t, guest, folder)
	run := func(command string) (string, error) {
		t.Helper()
		session, err := guest.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		defer context.AfterFunc(ctx, func() { session.Close() })()
		out, err := session.CombinedOutput(command)
		t.Logf("%s\n%s", command, out)
		return string(out), err
	}
	const find = `disk() { for s in /sys/block/nvme*/device/serial; do grep -q "^$1" $s && basename $(dirname $(dirname $s)); done; }; `
	second := strings.ReplaceAll(plugged(ctx, t, c, i), "-", "")
	if _, err := run(find + "for n in $(seq 60); do d=$(disk " + second + "); test -n \"$d\" && break; sleep 1; done; ln -s /dev/$d image/disk.raw"); err != nil {
		t.Fatal(err)
	}
	publish := "sudo env AWS_ACCESS_KEY_ID=" + k.AccessKeyID + " AWS_SECRET_ACCESS_KEY=" + k.SecretAccessKey + " INGOT_STATE=/var/tmp/ingot %s ./ingot publish image --endpoint " +
		endpoint + " --region us-east-1 --name filled-here --volume new -v"
	if out, err := run(strings.Replace(publish, "%s", "", 1) + " --dry-run"); err != nil || !strings.Contains(out, "that "+*i.InstanceId+" fills") {
		t.Fatalf("the plan: %v", err)
	}
	if _, err := run(strings.Replace(publish, "%s", "timeout -s KILL 5", 1)); err == nil {
		t.Log("it came to its end within 5 seconds, and was not killed")
	}
	if _, err := run(strings.Replace(publish, "%s", "", 1)); err != nil {
		t.Fatalf("it ended with %v", err)
	}
	if out, _ := run("lsblk -o NAME,SIZE,SERIAL"); strings.Count(out, "vol") != 2 {
		t.Error("the guest has other disks than its own two")
	}
	all, err := c.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{{Name: aws.String("tag-key"), Values: []string{"ingot:run"}}}})
	if err != nil || len(all.Volumes) != 0 {
		t.Errorf("left are %+v (%v)", all, err)
	}
	images, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{{Name: aws.String("name"), Values: []string{"filled-here"}}}})
	if err != nil || len(images.Images) != 1 {
		t.Fatalf("there are %+v (%v)", images, err)
	}
	if _, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}); err != nil {
		t.Fatal(err)
	}
	boot(ctx, t, r, srv.URL, *images.Images[0].ImageId, "t3.micro", "ebs")
}

// builder launches an image, and logs in.
func builder(ctx context.Context, t *testing.T, c *ec2.Client, image string) (*ssh.Client, types.Instance) {
	t.Helper()
	key, err := c.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("builder"), KeyType: types.KeyTypeEd25519})
	if err != nil {
		t.Fatal(err)
	}
	run, err := c.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: &image, InstanceType: "t3.small", KeyName: aws.String("builder"), MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{*run.Instances[0].InstanceId}
	if err := ec2.NewInstanceStatusOkWaiter(c).Wait(ctx, &ec2.DescribeInstanceStatusInput{InstanceIds: ids}, 25*time.Minute); err != nil {
		t.Fatal(err)
	}
	out, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	i := out.Reservations[0].Instances[0]
	port := "22"
	for _, tag := range i.Tags {
		if *tag.Key == "ingot:ssh-port" {
			port = *tag.Value
		}
	}
	return connect(t, net.JoinHostPort(*i.PublicIpAddress, port), *key.KeyMaterial), i
}

// plugged gives the instance a second volume with what its image was made of, so that the disk need not be carried into the guest.
func plugged(ctx context.Context, t *testing.T, c *ec2.Client, i types.Instance) string {
	t.Helper()
	images, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{*i.ImageId}})
	if err != nil {
		t.Fatal(err)
	}
	return plug(ctx, t, c, i, *images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId)
}

// plug gives the instance a volume that is made of a snapshot.
func plug(ctx context.Context, t *testing.T, c *ec2.Client, i types.Instance, snapshot string) (volume string) {
	t.Helper()
	v, err := c.CreateVolume(ctx, &ec2.CreateVolumeInput{SnapshotId: &snapshot, AvailabilityZone: i.Placement.AvailabilityZone})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: v.VolumeId, InstanceId: i.InstanceId, Device: aws.String("/dev/sdf")}); err != nil {
		t.Fatal(err)
	}
	if err := ec2.NewVolumeInUseWaiter(c).Wait(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{*v.VolumeId}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	return *v.VolumeId
}

// tunnel has a port of the guest lead to a server here, and returns its URL there.
func tunnel(t *testing.T, guest *ssh.Client, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l, err := guest.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil { // the connection to the guest has ended
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", u.Host)
				if err != nil {
					return
				}
				defer out.Close()
				go func() {
					_, _ = io.Copy(out, in)
					_ = out.(*net.TCPConn).CloseWrite()
				}()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// carryPapers copies this program, and what there is of an image but for the disk, into the guest's folder image.
func carryPapers(t *testing.T, guest *ssh.Client, folder string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ingot")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "ingot/cmd/ingot")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building ingot: %v: %s", err, out)
	}
	files := map[string]string{"ingot": program}
	for _, name := range []string{"disk.blocks.json", "manifest.json", "lock.json", "sbom.spdx.json", "audit.json", "build.log"} {
		files["image/"+name] = filepath.Join(folder, name)
	}
	var all bytes.Buffer
	w := tar.NewWriter(&all)
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	session, err := guest.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	session.Stdin = &all
	if out, err := session.CombinedOutput("tar -x"); err != nil {
		t.Fatalf("carrying ingot into the guest: %v: %s", err, out)
	}
}
