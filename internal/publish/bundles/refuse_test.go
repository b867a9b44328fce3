package bundles

import (
	"bytes"
	"context"
	"crypto/rsa"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ingot/internal/bundle"
	"ingot/internal/fault"
)

func testKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile("../../bundle/testdata/test-user-key.pem")
	if err != nil {
		t.Fatal(err)
	}
	key, err := bundle.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// copied returns a bundle that a test may damage.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(vector)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUploadRefuses(t *testing.T) {
	t.Parallel()
	s := newServer(t, "local region")
	good := s.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
	enforced := s.bucket("enforced", "")
	north := Bucket{s.client("eu-north-1"), "eu-north-1", "north"}
	if _, err := north.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &north.Name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-north-1"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		bucket Bucket
		edit   func(dir string, u *Upload)
		kind   fault.Kind
		text   string
		hint   string
	}{
		{"without access control lists", enforced, nil, fault.Input, "takes no access control lists", "put-bucket-ownership-controls"},
		{"in another region", Bucket{s.client("us-east-1"), "us-east-1", "north"}, nil, fault.Input, "is in eu-north-1, not in us-east-1", "name that region"},
		{"without a bucket", Bucket{s.client("us-east-1"), "us-east-1", "nowhere"}, nil, fault.Missing, "there is no bucket nowhere", "BucketOwnerPreferred"},
		{"without a part", good, func(dir string, _ *Upload) { os.Remove(filepath.Join(dir, "image.part.07")) }, fault.Missing, "image.part.07", ""},
		{"a part cut short", good, func(dir string, _ *Upload) { os.Truncate(filepath.Join(dir, "image.part.07"), 5) }, fault.Input, "the manifest says", ""},
		{"a tampered part", good, func(dir string, _ *Upload) { flip(dir, "image.part.07") }, fault.Trust, "image.part.07 has the SHA-1", ""},
		{"no such part", good, func(_ string, u *Upload) { u.From = 12 }, fault.Usage, "there is no part 12", ""},
		{"no manifest", good, func(dir string, u *Upload) { u.Manifest = filepath.Join(dir, "image.part.00") }, fault.Input, "manifest", ""},
	} {
		dir := copied(t)
		u := Upload{Manifest: filepath.Join(dir, "image.manifest.xml"), To: Location{c.bucket.Name, "x"}}
		if c.edit != nil {
			c.edit(dir, &u)
		}
		_, err := u.Run(t.Context(), c.bucket)
		if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) || !strings.Contains(fault.HintOf(err), c.hint) {
			t.Errorf("%s: got %v (%v, hint %q); want %q (%v, hint %q)", c.name, err, fault.KindOf(err), fault.HintOf(err), c.text, c.kind, c.hint)
		}
	}
	for _, b := range []Bucket{good, enforced} {
		if left := s.objects(b); left["x/image.manifest.xml"] != "" {
			t.Errorf("%s has a manifest", b.Name)
		}
	}
	if _, err := to("x").Run(t.Context(), Bucket{s.client("us-east-1"), "us-east-1", "nowhere"}); err == nil {
		t.Error("a bucket was made unasked")
	}
	made := to("x")
	made.Create = true
	for _, b := range []Bucket{{s.client("us-east-1"), "us-east-1", "made-east"}, {s.client("eu-north-1"), "eu-north-1", "made-north"}} {
		if _, err := made.Run(t.Context(), b); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
	}
}

// An S3 that does not tell whether a bucket takes access control lists tells it at the first put, which is not repeated.
func TestACLsAreRefusedLate(t *testing.T) {
	t.Parallel()
	s := newServer(t, "local region")
	b := s.bucket("enforced", "")
	tries := 0
	u := to("x")
	u.From = 10 // one part
	s.harmed(b, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Query().Has("ownershipControls") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code></Error>"))
			return
		}
		if r.Method == http.MethodPut {
			tries++
		}
		next.ServeHTTP(w, r)
	}, func(b Bucket) {
		if _, err := u.Run(t.Context(), b); fault.KindOf(err) != fault.Input || !strings.Contains(fault.HintOf(err), "put-bucket-ownership-controls") || tries != 1 {
			t.Errorf("%v after %d tries", err, tries)
		}
	})
}

// The other maker's S3 has access control lists switched off, too.
func TestOwnershipElsewhere(t *testing.T) {
	t.Parallel()
	s := newServer(t, "versitygw")
	b := s.bucket("enforced", types.ObjectOwnershipBucketOwnerEnforced)
	u := to("x")
	u.ACL = "public-read"
	if _, err := u.Run(t.Context(), b); fault.KindOf(err) != fault.Input || !strings.Contains(fault.HintOf(err), "put-bucket-ownership-controls") {
		t.Error(err)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	s := newServer(t, "local region")
	b := s.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
	out, err := to("x").Run(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadManifest(t.Context(), b, Location{"images", "y.manifest.xml"}, nil); fault.KindOf(err) != fault.Missing {
		t.Errorf("no manifest: %v", err)
	}
	if _, _, err := ReadManifest(t.Context(), Bucket{s.client("eu-north-1"), "eu-north-1", "images"}, out.Manifest, nil); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "is in us-east-1") {
		t.Errorf("in another region: %v", err)
	}
	if err := Delete(t.Context(), b, []string{"x/image.part.04"}, nil); err != nil {
		t.Fatal(err)
	}
	m, _, err := ReadManifest(t.Context(), b, out.Manifest, nil)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	err = bundle.Extract(context.Background(), m, Parts{b, out.Manifest}, disk, bundle.ExtractOptions{Key: testKey(t)}, nil)
	if fault.KindOf(err) != fault.Missing || !strings.Contains(err.Error(), "image.part.04 (5 of 11)") {
		t.Errorf("a part is missing: %v", err)
	}
	if _, err := (Download{From: out.Manifest, Dir: t.TempDir()}).Run(t.Context(), b); fault.KindOf(err) != fault.Missing {
		t.Errorf("a part is missing: %v", err)
	}
}

func TestParseLocation(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Location{"s3://b": {"b", ""}, "s3://b/": {"b", ""}, "s3://b/c/d/": {"b", "c/d"}} {
		if got, err := ParseLocation(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "b/c", "s3://", "s3:///c", "https://b/c"} {
		if _, err := ParseLocation(text); fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got := (Location{"b", "c/image"}).Manifest(); got != (Location{"b", "c/image.manifest.xml"}) || got.Manifest() != got {
		t.Error(got)
	}
}

// flip changes a bit of a file.
func flip(dir, name string) {
	path := filepath.Join(dir, name)
	text, _ := os.ReadFile(path)
	text = bytes.Clone(text)
	text[3] ^= 1
	_ = os.WriteFile(path, text, 0o644)
}
