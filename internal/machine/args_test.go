package machine

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestArguments(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		c    Config
		f    files
		want []string
		not  []string
	}{
		"plain": {Config{}, files{disk: "d"},
			[]string{"-machine q35,graphics=off", "-device nvme,drive=root,serial=vol00000000000000000,bootindex=0",
				"restrict=on,ipv6=off,net=169.0.0.0/8,dhcpstart=169.0.0.15 ", "type=3,manufacturer=Amazon EC2,asset=Amazon EC2"},
			[]string{"pflash", "hostfwd", "guestfwd", "-no-reboot", "pcie-root-port"}},
		"volumes": {Config{Raw: true, Slots: 3, Volumes: []Volume{{"vol-01", "a,b"}}}, files{disk: "d"},
			[]string{"id=root,format=raw,", "pcie-root-port,id=slot2,chassis=3 ", "node-name=vol-01,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=a,,b ",
				"-device nvme,id=disk-vol-01,drive=vol-01,serial=vol01,bus=slot0 "}, []string{"slot3"}},
		"full": {Config{SSH: "127.0.0.1:0", Metadata: "/run/a,b's", NoReboot: true, Bus: "scsi", InstanceType: "x,y"}, files{"d,e", "code", "vars"},
			[]string{"hostfwd=tcp:127.0.0.1:0-:22", "guestfwd=tcp:169.254.169.254:80-cmd:", ` '/run/a,,b'\''s'`, "-no-reboot",
				"-device virtio-scsi-pci", "file=d,,e", "unit=0,format=raw,readonly=on,file=code", "product=x,,y,"}, nil},
		"ide":    {Config{Bus: "ide"}, files{disk: "d"}, []string{"-machine pc,graphics=off", "-device ide-hd,drive=root,serial=vol00000000000000000,bootindex=0"}, []string{"q35"}},
		"kernel": {Config{Kernel: &Kernel{"k,1", "i", "ro quiet"}}, files{disk: "d"}, []string{"-kernel k,1 -initrd i -append ro quiet ", "nvme,drive=root"}, []string{"bootindex"}},
		"arm64": {Config{Arch: "arm64"}, files{"d", "code", "vars"},
			[]string{"-machine virt", "-cpu cortex-a72", "-smbios"}, []string{"q35"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.c.Dir = "scratch"
			c, err := tc.c.complete()
			if err != nil {
				t.Fatal(err)
			}
			c.Accel = TCG(c.Arch, "")
			args, err := c.arguments(tc.f)
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Join(args, " ") + " "
			for _, want := range tc.want {
				if !strings.Contains(line, want) {
					t.Errorf("no %q in %s", want, line)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(line, not) {
					t.Errorf("%q is in %s", not, line)
				}
			}
		})
	}
}

func TestUUID(t *testing.T) {
	t.Parallel()
	c := Config{InstanceID: "i-0123456789abcdef0"}
	i := slices.IndexFunc(c.smbios(), func(s string) bool { return strings.HasPrefix(s, "type=1") })
	if !regexp.MustCompile(`serial=(ec2[0-9a-f]{5}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}),uuid=ec2`).MatchString(c.smbios()[i]) {
		t.Errorf("got %s", c.smbios()[i])
	}
}

// TestCarry runs this executable in the role that QEMU gives it.
func TestCarry(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "carry") // short enough for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		said, _ := io.ReadAll(conn) // ends: the guest's half-close is carried too
		_, _ = conn.Write([]byte(strings.ToUpper(string(said))))
	}()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), exe, carryRole, socket)
	cmd.Stdin = strings.NewReader("get / http")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "GET / HTTP" {
		t.Errorf("got %q, %v", out, err)
	}
	cmd = exec.Command(exe, carryRole, filepath.Join(dir, "nobody"))
	if out, err := cmd.CombinedOutput(); err == nil || len(out) > 0 {
		t.Errorf("without a server: %q, %v", out, err)
	}
}

func TestDecodePPM(t *testing.T) {
	t.Parallel()
	img, err := decodePPM([]byte("P6\n2 1\n255\n\x01\x02\x03\xff\x00\x10"))
	if err != nil {
		t.Fatal(err)
	}
	if r, g, b, _ := img.At(1, 0).RGBA(); r>>8 != 255 || g != 0 || b>>8 != 16 {
		t.Errorf("got %d %d %d", r>>8, g>>8, b>>8)
	}
	for _, bad := range []string{"", "P5\n1 1\n255\n\x00", "P6\n2 2\n255\n\x00", "P6\n-1 1\n255\n", "P6\n99999999 99999999\n255\n", "P6\n1 1\n65535\n\x00\x00\x00"} {
		if _, err := decodePPM([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}
