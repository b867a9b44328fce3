package bundles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"ingot/internal/bundle"
	"ingot/internal/fault"
)

// vector is a bundle of eleven parts.
const vector = "../../bundle/testdata/vectors/ec2-ami-tools/dense-11"

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func to(key string) Upload {
	return Upload{Manifest: filepath.Join(vector, "image.manifest.xml"), To: Location{"images", key}}
}

// each runs a test against every S3. The other maker's does not know aws-exec-read, and gets a list that it knows.
func each(t *testing.T, test func(t *testing.T, s *server, acl string)) {
	t.Parallel()
	for name, acl := range map[string]string{"local region": ExecRead, "versitygw": "private"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newServer(t, name), acl)
		})
	}
}

// What is uploaded is read, downloaded and deleted again, and nothing else with it.
func TestRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, s *server, acl string) {
		ctx := t.Context()
		b := s.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
		for _, key := range []string{"a/image.part.x", "a/image.part.0.bak", "a/imagine.part.0", "a/deeper/image.part.0"} {
			if _, err := b.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.Name, Key: &key, Body: strings.NewReader("somebody's")}); err != nil {
				t.Fatal(err)
			}
		}
		others := s.objects(b)
		u := to("a")
		u.ACL = acl
		out, err := u.Run(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&Uploaded{Location{"images", "a/image.manifest.xml"}, 12, 0}, out); diff != "" {
			t.Error(diff)
		}
		want := folder(t, vector)
		for name, text := range want {
			if got := s.objects(b)["a/"+name]; got != text {
				t.Errorf("%s is not what it was", name)
			}
		}
		m, text, err := ReadManifest(ctx, b, out.Manifest, nil)
		if err != nil || string(text) != want["image.manifest.xml"] {
			t.Fatal(err)
		}
		key := testKey(t)
		disk := filepath.Join(t.TempDir(), "disk")
		if err := bundle.Extract(ctx, m, Parts{b, out.Manifest}, disk, bundle.ExtractOptions{Key: key}, nil); err != nil {
			t.Fatal(err)
		}
		image, err := os.ReadFile("../../bundle/testdata/vectors/dense")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(disk); err != nil || !bytes.Equal(got, image) {
			t.Errorf("another image came out (%v)", err)
		}
		dir := t.TempDir()
		back, err := Download{From: out.Manifest, Dir: dir}.Run(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, folder(t, dir)); diff != "" || back.Fetched != 12 {
			t.Errorf("%+v %s", back, diff)
		}
		named := Named(out.Manifest, m)
		found, err := Find(ctx, b, Location{"images", "a/image"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(named, found); diff != "" {
			t.Error(diff)
		}
		if err := Delete(ctx, b, named, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(others, s.objects(b)); diff != "" {
			t.Error(diff)
		}
		if _, err := Find(ctx, b, Location{"images", "a/image"}); fault.KindOf(err) != fault.Missing {
			t.Errorf("a bundle that is gone: %v", err)
		}
		if cleared, err := b.Clear(ctx); cleared || err != nil {
			t.Errorf("a bucket with objects was cleared: %v, %v", cleared, err)
		}
		if err := Delete(ctx, b, slices.Sorted(maps.Keys(others)), nil); err != nil {
			t.Fatal(err)
		}
		if cleared, err := b.Clear(ctx); !cleared || err != nil {
			t.Errorf("an empty bucket: %v, %v", cleared, err)
		}
	})
}

// An upload that is stopped at any of its parts leaves no manifest, and a second one sends the rest, and nothing twice.
func TestUploadResumes(t *testing.T) {
	each(t, func(t *testing.T, s *server, acl string) {
		b := s.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
		for stop := range 12 {
			dir := fmt.Sprintf("at-%d", stop)
			ctx, kill := context.WithCancel(t.Context())
			var begun atomic.Int64
			u := to(dir)
			u.ACL = acl
			s.harmed(b, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Method == http.MethodPut && begun.Add(1) > int64(stop) {
					_, _ = io.CopyN(io.Discard, r.Body, 100)
					kill()
					panic(http.ErrAbortHandler)
				}
				next.ServeHTTP(w, r)
			}, func(b Bucket) {
				if _, err := u.Run(ctx, b); !errors.Is(err, context.Canceled) {
					t.Errorf("stopped at %d: %v", stop, err)
				}
			})
			kill()
			left := s.objects(b)
			if left[dir+"/image.manifest.xml"] != "" {
				t.Errorf("stopped at %d, it leaves a manifest", stop)
			}
			out, err := u.Run(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if out.Sent+out.Kept != 12 || out.Kept > stop {
				t.Errorf("stopped at %d: %+v", stop, out)
			}
			all := s.objects(b)
			for name, text := range folder(t, vector) {
				path := "/images/" + dir + "/" + name
				if s.puts[path] != 1 || all[dir+"/"+name] != text {
					t.Errorf("%s was put %d times", path, s.puts[path])
				}
			}
			if again, err := u.Run(t.Context(), b); err != nil || again.Sent != 0 || again.Kept != 12 {
				t.Errorf("once more: %+v, %v", again, err)
			}
		}
	})
}

// What is there with other content is put again; what other tools put without a SHA-1 is known by its MD5.
func TestUploadCompares(t *testing.T) {
	each(t, func(t *testing.T, s *server, acl string) {
		b := s.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
		want := folder(t, vector)
		for name, text := range map[string]string{"image.part.00": want["image.part.00"], "image.part.01": strings.Repeat("x", len(want["image.part.01"])), "image.part.02": "short"} {
			if _, err := b.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &b.Name, Key: aws.String("c/" + name), Body: strings.NewReader(text)}); err != nil {
				t.Fatal(err)
			}
		}
		u := to("c")
		u.ACL = acl
		out, err := u.Run(t.Context(), b)
		if err != nil || out.Kept != 1 || out.Sent != 11 {
			t.Errorf("%+v, %v", out, err)
		}
		for name, text := range want {
			if s.objects(b)["c/"+name] != text {
				t.Errorf("%s is not what it should be", name)
			}
		}
		if s.puts["/images/c/image.part.00"] != 1 {
			t.Error("a part that was there was put again")
		}
	})
}

// Everything that lets EC2 read the bundle is there, also on parts that an earlier run left without.
func TestExecRead(t *testing.T) {
	t.Parallel()
	s := newServer(t, "local region")
	b := s.bucket("images", types.ObjectOwnershipObjectWriter)
	private := to("p")
	private.ACL = "private"
	if _, err := private.Run(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := to("p").Run(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for key := range s.objects(b) {
			out, err := s.client("us-east-1").GetObjectAcl(t.Context(), &s3.GetObjectAclInput{Bucket: &b.Name, Key: &key})
			if err != nil || len(out.Grants) != 2 || aws.ToString(out.Grants[1].Grantee.DisplayName) != "za-team" || out.Grants[1].Permission != types.PermissionRead {
				t.Errorf("%s: %+v, %v", key, out, err)
			}
		}
	}
}

// A connection that breaks in the middle of a part is taken up again there, and the same object goes on.
func TestReadingGoesOn(t *testing.T) {
	each(t, func(t *testing.T, s *server, acl string) {
		b := s.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
		text := strings.Repeat("0123456789", 100_000)
		if _, err := b.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &b.Name, Key: aws.String("k"), Body: strings.NewReader(text)}); err != nil {
			t.Fatal(err)
		}
		breaks := 0
		s.harmed(b, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method != http.MethodGet || breaks == 3 {
				next.ServeHTTP(w, r)
				return
			}
			breaks++
			next.ServeHTTP(&cut{ResponseWriter: w, left: 200_000}, r)
		}, func(b Bucket) {
			r, err := b.open(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, r); got != text || breaks != 3 {
				t.Errorf("%d bytes came after %d breaks", len(got), breaks)
			}
		})
	})
}

// cut ends a connection after some bytes.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// A download that was stopped goes on; files of other content are not overwritten unasked; tampered parts get no name.
func TestDownloadIsWhole(t *testing.T) {
	t.Parallel()
	s := newServer(t, "local region")
	b := s.bucket("images", types.ObjectOwnershipBucketOwnerPreferred)
	out, err := to("").Run(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, kill := context.WithCancel(t.Context())
	var begun atomic.Int64
	d := Download{From: out.Manifest, Dir: dir}
	s.harmed(b, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if begun.Add(1) > 6 {
			kill()
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}, func(b Bucket) {
		if _, err := d.Run(ctx, b); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	left := folder(t, dir)
	if len(left) > 4 || left["image.manifest.xml"] != "" {
		t.Errorf("it leaves %d files", len(left))
	}
	for name, text := range left {
		if folder(t, vector)[name] != text {
			t.Errorf("%s is there, and not whole", name)
		}
	}
	back, err := d.Run(t.Context(), b)
	if err != nil || back.Kept != len(left) || back.Fetched != 12-len(left) {
		t.Errorf("%+v, %v", back, err)
	}
	if diff := cmp.Diff(folder(t, vector), folder(t, dir)); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "image.part.03"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Run(t.Context(), b); fault.KindOf(err) != fault.Exists || folder(t, dir)["image.part.03"] != "mine" {
		t.Errorf("over another file: %v", err)
	}
	d.Replace = true
	if _, err := d.Run(t.Context(), b); err != nil {
		t.Error(err)
	}
	if _, err := b.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &b.Name, Key: aws.String("image.part.05"), Body: strings.NewReader("tampered with")}); err != nil {
		t.Fatal(err)
	}
	d.Dir = t.TempDir()
	if _, err := d.Run(t.Context(), b); fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), "image.part.05") {
		t.Errorf("a tampered part: %v", err)
	}
	for name := range folder(t, d.Dir) {
		if name == "image.part.05" || name == "image.manifest.xml" || strings.HasPrefix(name, ".") {
			t.Errorf("it leaves %s", name)
		}
	}
}
