package install

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ingot/internal/deb/debtest"
	"ingot/internal/fault"
)

func TestOpenArchiveRefuses(t *testing.T) {
	t.Parallel()
	good := debtest.Pack("good", "", nil, "file").Deb(t)
	if a, err := openArchive(bytes.NewReader(good), int64(len(good))); err != nil || a.dataOffset+a.data.Size() != int64(len(good)) {
		t.Fatalf("a sound package: %v", err)
	}
	member := func(name, body string) string {
		return string(appendARHeader(nil, name, int64(len(body)))) + body + strings.Repeat("\n", len(body)%2)
	}
	version := member("debian-binary", "2.0\n")
	for name, text := range map[string]string{
		"empty":                "",
		"other file":           "PK\x03\x04",
		"no member":            arMagic,
		"other format":         arMagic + member("debian-binary", "3.0\n"),
		"no version":           arMagic + member("control.tar", ""),
		"data before control":  arMagic + version + member("data.tar", "") + member("control.tar", ""),
		"no data":              arMagic + version + member("control.tar", ""),
		"two controls":         arMagic + version + member("control.tar", "") + member("control.tar.gz", "") + member("data.tar", ""),
		"unknown member":       arMagic + version + member("surprise", "") + member("control.tar", "") + member("data.tar", ""),
		"cut off":              string(good[:len(good)-1]),
		"size with a sign":     arMagic + strings.Replace(version, "4         `", "-4        `", 1),
		"damaged member magic": strings.Replace(string(good), "`\n", "'\n", 1),
	} {
		if _, err := openArchive(strings.NewReader(text), int64(len(text))); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: error %v is not of kind input", name, err)
		}
	}
	extra := arMagic + version + member("_gpgorigin", "signature") + member("control.tar.xz", "") + member("data.tar.zst", "")
	if _, err := openArchive(strings.NewReader(extra), int64(len(extra))); err != nil {
		t.Errorf("a package with a member set aside for others: %v", err)
	}
}

func TestReadMembers(t *testing.T) {
	t.Parallel()
	data := debtest.Tarball(t, []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "./usr/bin/ping", Mode: 0o4755, Uid: 3, Gid: 4,
			PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00", "comment": "x"}},
		{Typeflag: tar.TypeLink, Name: "./usr/bin/ping6", Linkname: "./usr/bin/ping"},
		{Typeflag: tar.TypeSymlink, Name: "./bin", Linkname: "usr/bin"},
		{Typeflag: tar.TypeFifo, Name: "./run/initctl", Mode: 0o600},
	}, map[string]string{"./usr/bin/ping": "program"})
	members, err := readMembers(newSection(data))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range members {
		got = append(got, strings.TrimSpace(strings.Join([]string{m.Path, strconv.FormatUint(uint64(m.Mode), 8), m.hardLink, m.Target, string(m.Xattrs["security.capability"])}, " ")))
	}
	want := []string{". 40755", "usr/bin/ping 104755   \x01\x00", "usr/bin/ping6 0 usr/bin/ping", "bin 120000  usr/bin", "run/initctl 10600"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if m := members[1]; m.UID != 3 || m.GID != 4 || string(data[m.offset:m.offset+m.Size]) != "program" {
		t.Errorf("ping is %+v", m)
	}
}

func TestReadMembersRefuses(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]tar.Header{
		"climbing name": {Typeflag: tar.TypeReg, Name: "a/../../b"},
		"climbing link": {Typeflag: tar.TypeLink, Name: "a", Linkname: "../b"},
		"unknown type":  {Typeflag: tar.TypeCont, Name: "a"},
	} {
		if _, err := readMembers(newSection(debtest.Tarball(t, []tar.Header{h}, nil))); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: error %v is not of kind input", name, err)
		}
	}
	// archive/tar reads sparse files, but writes none.
	sparse := &tar.Header{Typeflag: tar.TypeReg, Name: "a", PAXRecords: map[string]string{"GNU.sparse.name": "b"}}
	if _, err := newMember(sparse); fault.KindOf(err) != fault.Input {
		t.Errorf("sparse file: error %v is not of kind input", err)
	}
}

// A file of control.tar may claim a size that it does not have.
func TestSparseControl(t *testing.T) {
	t.Parallel()
	holes := "1\n0\n1\n" // one piece of data: a byte at 0
	data := debtest.Tarball(t, []tar.Header{{Typeflag: tar.TypeReg, Name: "./postinst", Mode: 0o755,
		PAXRecords: map[string]string{"GNV.sparse.major": "1", "GNV.sparse.minor": "0", "GNV.sparse.realsize": "200000000"}}},
		map[string]string{"./postinst": holes + strings.Repeat("\x00", 512-len(holes)) + "x"})
	data = bytes.ReplaceAll(data, []byte("GNV.sparse"), []byte("GNU.sparse")) // archive/tar reads sparse files, but writes none
	files, err := readControl(data)
	if fault.KindOf(err) != fault.Input {
		t.Errorf("error %v is not of kind input; %d bytes make a file of %d", err, len(data), files[0].Size)
	}
}

func newSection(data []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
}

// A package that holds far more than it says must not fill the disk.
func TestBomb(t *testing.T) {
	t.Parallel()
	p := debtest.Pack("bomb", "Installed-Size: 1\n", nil)
	p.Add("zeros", strings.Repeat("\x00", 70<<20), 0o644)
	file := filepath.Join(t.TempDir(), "bomb.deb")
	if err := os.WriteFile(file, p.Deb(t), 0o644); err != nil {
		t.Fatal(err)
	}
	f, a, _, err := openFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := writeExpanded(t.Context(), out, a); fault.KindOf(err) != fault.Input {
		t.Errorf("error %v is not of kind input", err)
	}
}

func FuzzPackage(f *testing.F) {
	f.Add(debtest.Pack("seed", "Depends: a\n", map[string]string{"conffiles": "/etc/x\n", "triggers": "interest x\n"}, "etc/x").Deb(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := openArchive(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if control, err := readAll(a.control, 1<<20); err == nil {
			files, err := readControl(control)
			c := &content{control: files}
			p := &pkg{content: c}
			if err == nil {
				p.directives()
			}
			if c.members, err = readMembers(a.data); err != nil {
				return
			}
			for _, m := range c.members {
				if m.offset+m.Size > a.data.Size() || m.Mode&unix.S_IFMT == 0 && m.hardLink == "" {
					t.Fatalf("member %+v of %d bytes", m, a.data.Size())
				}
			}
			c.readConffiles(a.data)
		}
	})
}
