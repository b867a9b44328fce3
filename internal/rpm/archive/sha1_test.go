package archive

import (
	"context"
	"crypto/sha1" //nolint:gosec // what old repositories have
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/rpm/rpmtest"
)

// TestSHA1 resolves a repository of the time before SHA-256, from its files to the lock.
func TestSHA1(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", sha1.Sum([]byte(text))) //nolint:gosec // as above
	}
	real, err := os.ReadFile(rpmtest.EL6(t, "rpms", "centos-release-6-0.el6.centos.5.x86_64.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "Packages/centos-release.rpm"
	pkg := write(name, string(real))
	primary := write("repodata/primary.xml", `<metadata><package type="rpm"><name>centos-release</name><arch>x86_64</arch><version epoch="0" ver="6" rel="0.el6.centos.5"/>`+
		`<checksum type="sha" pkgid="YES">`+pkg+`</checksum><size package="9"/><location href="`+name+`"/></package></metadata>`)
	comps := write("repodata/comps.xml", `<comps><group><id>core</id><packagelist><packagereq type="mandatory">centos-release</packagereq>`+
		`<packagereq type="default">rhnsd</packagereq></packagelist></group></comps>`)
	data := func(kind, sum string) string {
		return `<data type="` + kind + `"><checksum type="sha">` + sum + `</checksum><timestamp>1300000000.5</timestamp><location href="repodata/` + kind + `.xml"/></data>`
	}
	repomd := `<repomd>` + data("primary", primary) + strings.Replace(data("group", comps), "group.xml", "comps.xml", 1) + `</repomd>`
	write("repodata/repomd.xml", repomd)
	c, err := fetch.New(fetch.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rq := Request{Arch: "x86_64", Include: []string{"@core"}, Expired: "CentOS 6 is over",
		Repositories: []Repository{{Name: "old", Mirrors: []string{"file://" + dir}, Keys: el6Keys(t)}}}
	if _, _, err := Resolve(context.Background(), c, rq, nil); fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), "SHA-1") {
		t.Errorf("without leave: %v", err)
	}
	rq.SHA1 = "there is nothing newer"
	l, e, err := Resolve(context.Background(), c, rq, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := l.Packages[0]; len(l.Packages) != 1 || p.Version != "6-0.el6.centos.5" || p.Size != int64(len(real)) || p.SHA256 != fmt.Sprintf("%x", sha256.Sum256(real)) ||
		!p.Explicit || l.Date.Unix() != 1300000000 || fmt.Sprint(e.Absent) != "[core: rhnsd]" {
		t.Errorf("%+v, absent %v", l, e.Absent)
	}
	early := rq
	early.Now = time.Unix(1_200_000_000, 0)
	if _, _, err := Resolve(context.Background(), c, early, nil); fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), "dated in the future") {
		t.Errorf("metadata of the future: %v", err)
	}
	write(name, "another")
	if _, _, err := Resolve(context.Background(), c, rq, nil); fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), "centos-release-6-0.el6.centos.5.x86_64") {
		t.Errorf("changed package: %v", err)
	}
	write("repodata/repomd.xml", strings.Replace(repomd, "</repomd>", data("modules", pkg)+"</repomd>", 1))
	if _, _, err := Resolve(context.Background(), c, rq, nil); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "modules") {
		t.Errorf("modules: %v", err)
	}
}
