package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/imds"
)

// metadata serves an instance's metadata to this process.
func metadata(t *testing.T, i imds.Instance, o imds.Options) {
	srv := httptest.NewServer(imds.Handler(i, o))
	t.Cleanup(srv.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", srv.URL)
}

func TestWhere(t *testing.T) {
	metadata(t, imds.Instance{ID: "i-0123456789abcdef0", Region: "eu-west-1", AZ: "eu-west-1b", AccountID: "111122223333"}, imds.Options{TokensRequired: true})
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // is not asked
	m := This()
	m.sys, m.dev = devices(t, blockdev{name: "nvme0n1"})
	got, err := m.Where(t.Context())
	if want := (Place{"i-0123456789abcdef0", "eu-west-1", "eu-west-1b", "111122223333"}); err != nil || got != want {
		t.Errorf("this is %+v (%v)", got, err)
	}
}

// Where there is no metadata service, or only its first version, this is no instance that could be said to be one.
func TestNoInstance(t *testing.T) {
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			http.NotFound(w, r)
			return
		}
		imds.Handler(imds.Instance{ID: "i-1"}, imds.Options{}).ServeHTTP(w, r)
	}))
	t.Cleanup(old.Close)
	empty := httptest.NewServer(imds.Handler(imds.Instance{}, imds.Options{}))
	t.Cleanup(empty.Close)
	for name, env := range map[string][2]string{
		"nobody answers": {"AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"},
		"it is off":      {"AWS_EC2_METADATA_DISABLED", "true"},
		"no tokens":      {"AWS_EC2_METADATA_SERVICE_ENDPOINT", old.URL},
		"no id":          {"AWS_EC2_METADATA_SERVICE_ENDPOINT", empty.URL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(env[0], env[1])
			if p, err := This().Where(t.Context()); fault.KindOf(err) != fault.Host {
				t.Errorf("it is %+v (%v)", p, err)
			}
		})
	}
}

// blockdev is a folder of /sys/block.
type blockdev struct {
	name, size   string
	serial       string // of NVMe
	virtio       string // serial, of virtio
	node, hidden string
}

// devices makes folders as /sys/block and /dev are. The devices are links to one that every machine has.
func devices(t *testing.T, all ...blockdev) (sys, dev string) {
	t.Helper()
	sys, dev = t.TempDir(), t.TempDir()
	for _, d := range all {
		dir := filepath.Join(sys, d.name)
		if err := os.MkdirAll(filepath.Join(dir, "device"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"size": d.size, "device/serial": d.serial, "serial": d.virtio, "device/nodename": d.node, "hidden": d.hidden} {
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("/dev/null", filepath.Join(dev, d.name)); err != nil {
			t.Fatal(err)
		}
	}
	return sys, dev
}

func TestDevice(t *testing.T) {
	t.Parallel()
	const size = "6291456" // 3 GiB
	volume := Volume{ID: "vol-0123456789abcdef0", Device: "/dev/sdf", Size: 3}
	other := blockdev{name: "nvme0n1", serial: "vol0fedcba9876543210", size: size}
	for name, x := range map[string]struct {
		disks     []blockdev
		want, err string
	}{
		"NVMe":                      {[]blockdev{other, {name: "nvme1n1", serial: "vol0123456789abcdef0 ", size: size}}, "nvme1n1", ""},
		"NVMe by two paths":         {[]blockdev{{name: "nvme1c0n1", serial: "vol0123456789abcdef0", hidden: "1", size: size}, {name: "nvme1n1", serial: "vol0123456789abcdef0", hidden: "0", size: size}}, "nvme1n1", ""},
		"NVMe that is not read yet": {[]blockdev{{name: "nvme1n1", serial: "vol0123456789abcdef0", size: "0"}}, "", ""},
		"virtio":                    {[]blockdev{{name: "vda"}, {name: "vdb", virtio: "vol0123456789abcdef0", size: size}}, "vdb", ""},
		"Xen":                       {[]blockdev{{name: "xvda", node: "device/vbd/51712"}, {name: "xvdf", node: "device/vbd/51792", size: size}}, "xvdf", ""},
		"Xen by sd":                 {[]blockdev{{name: "xvdf", node: "device/vbd/2128", size: size}}, "xvdf", ""},
		"Xen that names otherwise":  {[]blockdev{{name: "xvdf", node: "device/vbd/51728", size: size}, {name: "xvdj", node: "device/vbd/51792", size: size}}, "xvdj", ""},
		"Xen's partition":           {[]blockdev{{name: "xvdf1", node: "device/vbd/51793", size: size}}, "", ""},
		"not there":                 {[]blockdev{other, {name: "loop0"}, {name: "xvdf", size: size}, {name: "sdf", size: size}}, "", ""},
		"another size":              {[]blockdev{{name: "xvdf", node: "device/vbd/51792", size: "2097152"}}, "", "has 2097152 sectors"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &Machine{}
			m.sys, m.dev = devices(t, x.disks...)
			want := x.want
			if want != "" {
				want = filepath.Join(m.dev, want)
			}
			got, err := m.device(volume)
			if got != want || x.err == "" && err != nil || x.err != "" && (fault.KindOf(err) != fault.Host || !strings.Contains(err.Error(), x.err)) {
				t.Errorf("it is %q (%v)", got, err)
			}
		})
	}
}

// What goes by the name, but has no device or is a file, is not written to.
func TestDeviceIsNone(t *testing.T) {
	t.Parallel()
	m := &Machine{}
	m.sys, m.dev = devices(t, blockdev{name: "nvme1n1", serial: "vol0123456789abcdef0", size: "2097152"})
	v := Volume{ID: "vol-0123456789abcdef0", Size: 1}
	path := filepath.Join(m.dev, "nvme1n1")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := m.device(v); got != "" || err != nil {
		t.Errorf("without a node it is %q (%v)", got, err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.device(v); fault.KindOf(err) != fault.Host {
		t.Errorf("a file is a device: %v", err)
	}
}

// What is on the volume, such as an earlier run's half of the image, is written over.
func TestInstall(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("attaching a loop device needs root")
	}
	backing := filepath.Join(t.TempDir(), "volume")
	f, err := os.Create(backing)
	if err == nil {
		err = f.Truncate(1 << 30)
	}
	if err == nil { // a filesystem, by its magic number
		_, err = f.WriteAt([]byte{0x53, 0xef}, 1024+56)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", backing).Output()
	if err != nil {
		t.Skipf("no loop device to be had here: %v", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if err := exec.Command("losetup", "--detach", device).Run(); err != nil {
			t.Error(err)
		}
	})
	image := bytes.Repeat([]byte("image"), 2*disk.BlockSize/5+1)[:2*disk.BlockSize]
	blocks := &disk.Map{Size: int64(len(image)), BlockSize: disk.BlockSize}
	for n := range int32(2) {
		blocks.Blocks = append(blocks.Blocks, disk.Block{Index: n, SHA256: sha256.Sum256(image[int(n)*disk.BlockSize:][:disk.BlockSize])})
	}
	m := &Machine{}
	m.sys, m.dev = devices(t, blockdev{name: "nvme1n1", serial: "vol0123456789abcdef0", size: "2097152"})
	path := filepath.Join(m.dev, "nvme1n1")
	if err := errors.Join(os.Remove(path), os.Symlink(device, path)); err != nil {
		t.Fatal(err)
	}
	if err := m.Install(t.Context(), Volume{ID: "vol-0123456789abcdef0", Device: "/dev/sdf", Size: 1}, bytes.NewReader(image), blocks, nil); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(image))
	g, err := os.Open(backing)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.ReadAt(got, 0); err != nil || !bytes.Equal(got, image) {
		t.Errorf("the volume does not have the image (%v)", err)
	}
}

func TestXenLetter(t *testing.T) {
	t.Parallel()
	for node, want := range map[string]byte{"device/vbd/51712": 'a', "device/vbd/51952": 'p', "device/vbd/268439552": 'q', "device/vbd/2048": 'a', "device/vbd/768": 1,
		"device/vbd/51713": 1, "device/vbd/268439553": 1, "device/vbd/": 1, "device/vif/0": 1, "device/vbd/99999999999": 1, "device/vbd/268500992": 1} {
		if got := xenLetter(node); got != want {
			t.Errorf("%s is %q, not %q", node, got, want)
		}
	}
}

func TestAppearEnds(t *testing.T) {
	t.Parallel()
	m := &Machine{}
	m.sys, m.dev = devices(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if _, err := m.appear(ctx, Volume{ID: "vol-1"}); !errors.Is(err, stopped) {
		t.Errorf("it ended with %v", err)
	}
}
