package bundles

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/retry"
)

const (
	// ExecRead is the access control list that lets EC2 read a bundle, and nobody else.
	ExecRead = "aws-exec-read"

	parallel = 8                // parts under way at once
	putLimit = 15 * time.Minute // for one attempt at a part
)

// Upload says what to upload, and where.
type Upload struct {
	Manifest string         // path of the manifest
	Dir      string         // of the parts; "" is the manifest's
	To       Location       // the folder, in the bucket of the call
	ACL      string         // a canned one; "" is ExecRead
	Create   bool           // make the bucket where there is none
	From     int            // the first part to send
	LeaveOut bool           // the manifest
	Dry      bool           // count what would be sent, and send nothing
	Task     *progress.Task // may be nil; grows by the bytes to send
}

// Uploaded is what became of an upload.
type Uploaded struct {
	Manifest   Location
	Sent, Kept int // objects that were sent, and that were there
}

// Run uploads the bundle: parts in parallel, the manifest last. What is there already, with the right content, is not sent
// again; it only gets the access control list.
func (o Upload) Run(ctx context.Context, b Bucket) (*Uploaded, error) {
	u := &upload{Upload: o, bucket: b}
	err := u.read()
	if err == nil {
		err = u.run(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("uploading %s to %s: %w", o.Manifest, o.To, err)
	}
	return &Uploaded{o.To.within(filepath.Base(o.Manifest)), int(u.sent.Load()), int(u.kept.Load())}, nil
}

// upload is an upload under way.
type upload struct {
	Upload
	bucket     Bucket
	manifest   *bundle.Manifest
	text       []byte           // of the manifest
	there      map[string]int64 // objects in the bucket, and their sizes
	sent, kept atomic.Int64
}

// read reads the manifest, and looks for the parts.
func (u *upload) read() error {
	text, err := os.ReadFile(u.Manifest)
	if err != nil {
		return err
	}
	if u.manifest, err = bundle.Parse(text); err != nil {
		return err
	}
	if u.ACL == "" {
		u.ACL = ExecRead
	}
	if u.text = text; u.Dir == "" {
		u.Dir = filepath.Dir(u.Manifest)
	}
	if u.From < 0 || u.From > len(u.manifest.Parts) {
		return fault.Newf(fault.Usage, "there is no part %d: the bundle has %d", u.From, len(u.manifest.Parts))
	}
	total := int64(0)
	for _, p := range u.manifest.Parts {
		info, err := os.Stat(filepath.Join(u.Dir, p.Name))
		if err != nil {
			return fmt.Errorf("looking for the bundle's parts: %w", err)
		}
		total += info.Size()
	}
	if total != u.manifest.BundledSize {
		return fault.Newf(fault.Input, "the parts in %s have %d bytes, and the manifest says %d", u.Dir, total, u.manifest.BundledSize)
	}
	return nil
}

func (u *upload) run(ctx context.Context) (err error) {
	if u.Dry {
		err = u.bucket.Ready(ctx)
		if fault.KindOf(err) == fault.Missing && u.Create {
			u.sent.Store(int64(len(u.manifest.Parts[u.From:])) + int64(map[bool]int{false: 1}[u.LeaveOut]))
			return nil
		}
	} else {
		err = u.bucket.prepare(ctx, u.Create)
	}
	if err != nil {
		return err
	}
	if u.there, err = u.bucket.list(ctx, u.To.within(u.manifest.Name).Key); err != nil {
		return err
	}
	u.Task.Grow(u.manifest.BundledSize)
	g, group := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, p := range u.manifest.Parts[u.From:] {
		g.Go(func() error {
			if group.Err() != nil {
				return nil // another part has failed
			}
			f, err := os.Open(filepath.Join(u.Dir, p.Name))
			if err != nil {
				return err
			}
			defer f.Close()
			digest, err := hex.DecodeString(p.Digest)
			if err != nil {
				return err
			}
			return u.object(group, p.Name, "binary/octet-stream", f, digest)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil || u.LeaveOut {
		return err
	}
	sum := sha1.Sum(u.text)
	return u.object(ctx, filepath.Base(u.Manifest), "text/xml", bytes.NewReader(u.text), sum[:])
}

// object brings one object into its state: it puts it, or gives the one that is there its access control list.
func (u *upload) object(ctx context.Context, name, kind string, content io.ReadSeeker, digest []byte) error {
	size, err := content.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	key := u.To.within(name).Key
	if stored, there := u.there[key]; there && stored == size {
		same, err := u.bucket.holds(ctx, key, content, digest)
		if err != nil {
			return err
		}
		if same {
			u.kept.Add(1)
			u.Task.Add(size)
			if u.Dry {
				return nil
			}
			return u.grant(ctx, key)
		}
	}
	if err := verify(name, content, digest); err != nil {
		return err
	}
	if u.Dry {
		u.sent.Add(1)
		return nil
	}
	err = retry.Call(ctx, "s3:PutObject", retry.Policy{Limit: putLimit}, func(ctx context.Context) error {
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := u.bucket.PutObject(ctx, &s3.PutObjectInput{Bucket: &u.bucket.Name, Key: &key, Body: content, ContentLength: &size, ContentType: &kind,
			ACL: types.ObjectCannedACL(u.ACL), ChecksumSHA1: aws.String(base64.StdEncoding.EncodeToString(digest))})
		return err
	})
	if err != nil {
		return u.explain("putting", key, err)
	}
	u.sent.Add(1)
	u.Task.Add(size)
	return nil
}

// verify compares a local file with its digest before it is sent.
func verify(name string, content io.ReadSeeker, digest []byte) error {
	sum := sha1.New()
	_, err := content.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(sum, content)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if got := sum.Sum(nil); !bytes.Equal(got, digest) {
		return fault.Newf(fault.Trust, "the part %s has the SHA-1 %x, and %x in the manifest: it was damaged or changed", name, got, digest)
	}
	return nil
}

func (u *upload) grant(ctx context.Context, key string) error {
	err := retry.Call(ctx, "s3:PutObjectAcl", retry.Policy{}, func(ctx context.Context) error {
		_, err := u.bucket.PutObjectAcl(ctx, &s3.PutObjectAclInput{Bucket: &u.bucket.Name, Key: &key, ACL: types.ObjectCannedACL(u.ACL)})
		return err
	})
	if err != nil && retry.Code(err) != "NotImplemented" { // some S3 have lists for puts alone, and keep none
		return u.explain("granting "+u.ACL+" on", key, err)
	}
	return nil
}

func (u *upload) explain(what, key string, err error) error {
	if retry.Code(err) == "AccessControlListNotSupported" {
		return u.bucket.withoutACLs(err)
	}
	return fmt.Errorf("%s %s: %w", what, Location{u.bucket.Name, key}, err)
}

// holds tells whether an object of the right size has the right content: by the SHA-1 that it was put with, or by its MD5,
// as other tools leave them. content is read for the latter alone.
func (b Bucket) holds(ctx context.Context, key string, content io.ReadSeeker, digest []byte) (bool, error) {
	var out *s3.HeadObjectOutput
	err := retry.Call(ctx, "s3:GetObject", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = b.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.Name, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		return err
	})
	if err != nil {
		return false, fmt.Errorf("asking for %s: %w", Location{b.Name, key}, err)
	}
	if sum := aws.ToString(out.ChecksumSHA1); sum != "" {
		return sum == base64.StdEncoding.EncodeToString(digest), nil
	}
	sum := md5.New()
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	if _, err := io.Copy(sum, content); err != nil {
		return false, err
	}
	return aws.ToString(out.ETag) == fmt.Sprintf(`"%x"`, sum.Sum(nil)), nil
}
