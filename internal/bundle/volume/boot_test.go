package volume

import (
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/imds"
)

// GRUB 2 is linked from the tree's own modules, and finds the root filesystem by its UUID.
func TestGRUB2(t *testing.T) {
	t.Parallel()
	host := "/" + grub2Dir
	if _, err := os.Stat(host + "/kernel.img"); err != nil {
		t.Skip("GRUB for BIOS is not installed")
	}
	if _, err := exec.LookPath("grub-mkimage"); err != nil {
		t.Skip("grub-mkimage is not installed")
	}
	root := makeTree(t, system, map[string]string{"boot/grub/grub.cfg": "# menu"})
	if err := os.MkdirAll(filepath.Join(root, grub2Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(root, grub2Dir), os.DirFS(host)); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{GPT, MBR} {
		o := options(t, root)
		o.Partition = kind
		made, err := Make(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		head, err := os.ReadFile(o.Image)
		if err != nil {
			t.Fatal(err)
		}
		core := map[string]int{GPT: 1 << 20, MBR: 512}[kind]
		if made.Loader != "GRUB 2" || !bytes.Contains(head[:512], []byte("GRUB")) || bytes.Count(head[core:core+4096], []byte{0}) > 2048 {
			t.Errorf("%s: %+v does not start GRUB", kind, made)
		}
		out, err := exec.Command("/sbin/sfdisk", "--verify", o.Image).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", kind, err, out)
		}
	}
	os.Remove(filepath.Join(root, "boot/grub/grub.cfg"))
	o := options(t, root)
	o.Partition = GPT
	if _, err := Make(t.Context(), o); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "grub.cfg") {
		t.Errorf("without a menu: %v", err)
	}
}

// stages are files that have what GRUB legacy's are known by.
func stages() map[string]string {
	stage1 := make([]byte, 512)
	stage1[0x3e], stage1[0x3f], stage1[510], stage1[511] = 3, 2, 0x55, 0xaa
	next := func(id byte) string {
		b := make([]byte, 2048)
		b[512], b[513], b[512+6], b[512+7], b[512+0x10] = 0xea, 0x70, 3, 2, id
		copy(b[512+0x12:], "0.97\x00/boot/grub/menu.lst")
		return string(b)
	}
	return map[string]string{"usr/share/grub/x86_64-redhat/stage1": string(stage1), "usr/share/grub/x86_64-redhat/e2fs_stage1_5": next(2),
		"usr/share/grub/x86_64-redhat/stage2": next(0), "lib/modules/2.6.32-754.el6.x86_64/modules.dep": ""}
}

// A system of the age of CentOS 6 gets the filesystem and the boot loader that it knows.
func TestGRUBLegacy(t *testing.T) {
	t.Parallel()
	old := map[string]string{"etc/fstab": "LABEL=root / ext4 defaults 1 1\n", "boot/grub/grub.conf": "title old\n"}
	o := options(t, makeTree(t, old, stages()))
	o.Partition = MBR
	made, err := Make(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if made.Loader != "GRUB legacy" || made.Profile != "el6" {
		t.Errorf("%+v", made)
	}
	files, _ := contents(t, o.Image)
	if !strings.Contains(files["boot/grub/stage2"], "/boot/grub/grub.conf") {
		t.Error("stage2 does not know the menu")
	}
	o.Partition, o.Image = GPT, o.Image+"2"
	if _, err := Make(t.Context(), o); fault.KindOf(err) != fault.Input || !strings.Contains(fault.HintOf(err), "mbr") {
		t.Errorf("on a GPT: %v", err)
	}
	o.Partition, o.GRUBConfig, o.GenerateFstab = None, []byte("title given\n"), true
	if _, err := Make(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	files, _ = contents(t, o.Image)
	if files["boot/grub/menu.lst"] != "title given\n" || files["boot/grub/grub.conf"] != "title given\n" || !strings.Contains(files["etc/fstab"], "devpts") {
		t.Errorf("%q", files)
	}
}

func TestInherit(t *testing.T) {
	t.Parallel()
	instance := imds.Instance{ID: "i-0123456789abcdef0", ImageID: "ami-2", Ancestors: []string{"ami-0", "ami-1"}, KernelID: "aki-5c21674b", RamdiskID: "ari-1",
		ProductCodes: []string{"A", "B"}, RootDevice: "/dev/sda1", BlockDevices: map[string]string{"ephemeral0": "sdb", "ebs1": "sdc"}}
	for _, required := range []bool{true, false} {
		srv := httptest.NewServer(imds.Handler(instance, imds.Options{TokensRequired: required}))
		defer srv.Close()
		got, err := Inherit(t.Context(), srv.URL+"/")
		if err != nil {
			t.Fatal(err)
		}
		want := &Metadata{Kernel: "aki-5c21674b", Ramdisk: "ari-1", ProductCodes: []string{"A", "B"}, Ancestors: []string{"ami-0", "ami-1", "ami-2"},
			BlockDevices: []bundle.BlockDevice{{Virtual: "ami", Device: "/dev/sda1"}, {Virtual: "ephemeral0", Device: "sdb"}, {Virtual: "root", Device: "/dev/sda1"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	srv := httptest.NewServer(nil)
	srv.Close()
	if _, err := Inherit(t.Context(), srv.URL); fault.KindOf(err) != fault.Unreachable || fault.HintOf(err) == "" {
		t.Errorf("nobody there: %v", err)
	}
}
