package rpm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ingot/internal/rpm/rpmtest"
)

// TestPayload compares with what `rpm2cpio | cpio` unpacks.
func TestPayload(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"rpm2cpio", "cpio"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: %v", tool, err)
		}
	}
	for _, path := range rpmtest.Packages(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			got := payload(t, path)
			want := unpacked(t, path)
			for p := range want { // folders that cpio makes for files whose package does not own them
				if _, ok := got[p]; !ok && strings.HasPrefix(want[p], "40") {
					delete(want, p)
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-rpm2cpio +ours)\n%s", d)
			}
		})
	}
}

// payload returns a line for each file of a package.
func payload(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	pl, err := p.Payload(f)
	if err != nil {
		t.Fatal(err)
	}
	defer pl.Close()
	all := make(map[string]string)
	for {
		e, err := pl.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if _, err := io.Copy(h, pl); err != nil {
			t.Fatal(err)
		}
		for _, f := range append(e.Links, e.File) {
			content := f.LinkTo
			if f.Mode&ModeType == ModeRegular {
				content = fmt.Sprintf("%x %d %d", h.Sum(nil), f.MTime, len(e.Links)+1)
			}
			all[f.Path] = fmt.Sprintf("%o %s", plainMode(f.Mode), content)
		}
	}
}

// plainMode leaves out the permissions of a symbolic link, which Linux does not keep.
func plainMode(mode uint32) uint32 {
	if mode&ModeType == ModeLink {
		return ModeLink
	}
	return mode
}

// unpacked lets rpm2cpio and cpio unpack a package and describes the result as payload does.
func unpacked(t *testing.T, path string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("sh", "-c", `rpm2cpio "$1" | (cd "$2" && cpio -idm --quiet --no-preserve-owner)`, "sh", path, dir).CombinedOutput(); err != nil {
		t.Fatalf("rpm2cpio | cpio: %v\n%s", err, out)
	}
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content := ""
		switch st.Mode & ModeType {
		case ModeRegular:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = fmt.Sprintf("%x %d %d", sha256.Sum256(data), st.Mtim.Sec, st.Nlink)
		case ModeLink:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		all["/"+strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")] = fmt.Sprintf("%o %s", plainMode(st.Mode), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
