package install

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
)

// lockOf makes a lock of the .deb files in a directory, in the order in which a dpkg.log says that they were
// configured. Packages that the log does not name are left out.
func lockOf(t *testing.T, debs, dpkgLog string, explicit ...string) (*lock.Lock, func(lock.Package) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	byID := make(map[string]lock.Package)
	paths := make(map[string]string)
	for _, file := range files {
		c, err := openContent(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		size, err := io.Copy(sum, f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		p := lock.Package{Name: c.fields.Get("Package"), Version: c.fields.Get("Version"), Arch: c.fields.Get("Architecture"),
			Path: file, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
		for _, name := range explicit {
			p.Explicit = p.Explicit || name == p.Name
		}
		byID[p.Name+":"+p.Arch+" "+p.Version] = p
		paths[p.SHA256] = file
	}
	l := &lock.Lock{Version: lock.Version, Arch: "x86_64", Format: "deb", Date: time.Now().Truncate(24 * time.Hour).UTC()}
	log, err := os.Open(dpkgLog)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for s := bufio.NewScanner(log); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 5 || f[2] != "configure" {
			continue
		}
		id := f[3] + " " + f[4]
		if p, ok := byID[id]; ok {
			l.Packages = append(l.Packages, p)
			delete(byID, id)
		}
	}
	return l, func(p lock.Package) string { return paths[p.SHA256] }
}

func TestDev(t *testing.T) {
	ref := os.Getenv("INGOT_REF")
	if ref == "" {
		t.Skip()
	}
	out := os.Getenv("INGOT_OUT")
	os.RemoveAll(out)
	l, file := lockOf(t, filepath.Join(filepath.Dir(filepath.Dir(ref)), "debs"), ref+".dpkg.log", strings.Split(os.Getenv("INGOT_EXPLICIT"), ",")...)
	t.Log(len(l.Packages), "packages")
	rep := progress.New(func(e progress.Event) {
		switch e.Kind {
		case progress.Begin:
			t.Log(e.Time.Format("05.000"), "begin", e.Name)
		case progress.End:
			t.Log(e.Time.Format("05.000"), "end", e.Name, e.Err)
		case progress.Output:
			t.Log(e.Time.Format("05.000"), "   ", e.Text)
		}
	})
	task := rep.Begin("install", 0, progress.Items)
	start := time.Now()
	err := Install(context.Background(), Options{
		Root: out, Lock: l, File: file, Expanded: os.Getenv("INGOT_EXPANDED"), Task: task, MergedUsr: true,
		Sandbox: func(ctx context.Context, root string) (*sandbox.Sandbox, error) {
			return sandbox.Open(ctx, sandbox.Config{Root: root})
		},
	})
	task.End(err)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
}

func TestDevUnpack(t *testing.T) {
	ref := os.Getenv("INGOT_REF")
	if ref == "" {
		t.Skip()
	}
	out := os.Getenv("INGOT_OUT") + "-unpack"
	os.RemoveAll(out)
	l, file := lockOf(t, filepath.Join(filepath.Dir(filepath.Dir(ref)), "debs"), ref+".dpkg.log")
	in := &installer{Options: Options{Root: out, Lock: l, File: file}, owners: make(map[string]*pkg), triggers: triggers{named: make(map[string][]interest)}}
	in.expander.dir = os.Getenv("INGOT_EXPANDED")
	start := time.Now()
	if err := in.openRoot(); err != nil {
		t.Fatal(err)
	}
	if err := in.openPackages(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Log("open", time.Since(start))
	in.mergeUsr()
	g := in.expandAll(context.Background(), nil)
	if os.Getenv("X") != "" {
		g.Wait()
		t.Log("expanded", time.Since(start))
	}
	for _, p := range in.pkgs {
		s := time.Now()
		if err := in.extract(context.Background(), []*pkg{p}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(s); d > 100*time.Millisecond {
			t.Log(p.Name, d, p.size>>20)
		}
	}
	t.Log("extract", time.Since(start))
}
