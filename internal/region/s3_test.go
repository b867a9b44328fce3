package region

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"
)

func (f *fixture) s3(region string) *awss3.Client {
	return awss3.NewFromConfig(f.config(region, f.region.Credentials()), func(o *awss3.Options) { o.UsePathStyle = true })
}

// bucket makes a bucket in us-east-1.
func (f *fixture) bucket(name string, ownership types.ObjectOwnership) {
	f.t.Helper()
	if _, err := f.s3("us-east-1").CreateBucket(f.t.Context(), &awss3.CreateBucketInput{Bucket: &name, ObjectOwnership: ownership}); err != nil {
		f.t.Fatal(err)
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	c, ctx := f.s3("us-east-1"), t.Context()
	f.bucket("b.one", "")
	put := func(key, text string) {
		t.Helper()
		_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("b.one"), Key: &key, Body: strings.NewReader(text), Metadata: map[string]string{"colour": "blue"},
			ChecksumAlgorithm: types.ChecksumAlgorithmSha1})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("a/1 & é+", "first")
	put("a/2", "second")
	put("b", "third")
	put("b", "another")
	out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("b.one"), Key: aws.String("b"), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out.Body)
	if err != nil || string(text) != "another" || aws.ToString(out.ETag) != fmt.Sprintf(`"%x"`, md5.Sum([]byte("another"))) || out.Metadata["colour"] != "blue" || out.ChecksumSHA1 == nil {
		t.Errorf("got %q, %s, %v, %v (%v)", text, *out.ETag, out.Metadata, out.ChecksumSHA1, err)
	}
	part, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("b.one"), Key: aws.String("b"), Range: aws.String("bytes=3-5")})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(part.Body); err != nil || string(text) != "the" {
		t.Errorf("a range: %q (%v)", text, err)
	}
	pages := awss3.NewListObjectsV2Paginator(c, &awss3.ListObjectsV2Input{Bucket: aws.String("b.one"), MaxKeys: aws.Int32(1)})
	var keys []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	if diff := cmp.Diff([]string{"a/1 & é+", "a/2", "b"}, keys); diff != "" {
		t.Error(diff)
	}
	old, err := c.ListObjects(ctx, &awss3.ListObjectsInput{Bucket: aws.String("b.one"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(1)})
	if err != nil || len(old.CommonPrefixes) != 1 || *old.CommonPrefixes[0].Prefix != "a/" || aws.ToString(old.NextMarker) != "a/" {
		t.Errorf("%+v, %v", old, err)
	}
	if _, err := c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: aws.String("b.one"), Key: aws.String("b")}); err != nil {
		t.Error(err)
	}
	gone, err := c.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: aws.String("b.one"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("a/1 & é+")}, {Key: aws.String("a/2")}, {Key: aws.String("never there")}}}})
	if err != nil || len(gone.Deleted) != 3 {
		t.Errorf("%+v, %v", gone, err)
	}
	if files, err := os.ReadDir(filepath.Join(f.region.opt.Dir, "s3", "data")); err != nil || len(files) != 0 {
		t.Errorf("bytes of no object stay: %v (%v)", files, err)
	}
	if _, err := c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("b.one")}); err != nil {
		t.Error(err)
	}
}

// Objects survive a restart, and what a put that was cut short left does not.
func TestObjectsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := Open(t.Context(), Options{Dir: dir, Regions: []string{"us-east-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "s3", "data", "half"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, Options{Dir: dir})
	f.bucket("kept", types.ObjectOwnershipObjectWriter)
	if _, err := f.s3("us-east-1").PutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String("kept"), Key: aws.String("k"), Body: strings.NewReader("x"), ACL: "aws-exec-read"}); err != nil {
		t.Fatal(err)
	}
	again, err := openS3(filepath.Join(dir, "s3"))
	if err != nil {
		t.Fatal(err)
	}
	o, file, err := again.open("kept", "k")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if o.ACL != "aws-exec-read" || o.Size != 1 || again.buckets.rows["kept"].Ownership != objectWriter {
		t.Errorf("%+v", o)
	}
	if files, err := os.ReadDir(filepath.Join(dir, "s3", "data")); err != nil || len(files) != 1 {
		t.Errorf("%v (%v)", files, err)
	}
}

func TestACL(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	c, ctx := f.s3("us-east-1"), t.Context()
	f.bucket("lists", types.ObjectOwnershipBucketOwnerPreferred)
	f.bucket("none", "")
	if _, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("none"), Key: aws.String("k"), ACL: "aws-exec-read"}); code(err) != "AccessControlListNotSupported" {
		t.Error(err)
	}
	for _, acl := range []types.ObjectCannedACL{"", types.ObjectCannedACLBucketOwnerFullControl} {
		if _, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("none"), Key: aws.String("k"), ACL: acl}); err != nil {
			t.Error(err)
		}
	}
	readers := func(bucket string) (names []string) {
		out, err := c.GetObjectAcl(ctx, &awss3.GetObjectAclInput{Bucket: &bucket, Key: aws.String("k")})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range out.Grants {
			names = append(names, fmt.Sprintf("%s%s:%s", aws.ToString(g.Grantee.DisplayName), aws.ToString(g.Grantee.URI), g.Permission))
		}
		return names
	}
	if _, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("lists"), Key: aws.String("k"), ACL: "aws-exec-read"}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"000000000000:FULL_CONTROL", "za-team:READ"}, readers("lists")); diff != "" {
		t.Error(diff)
	}
	if _, err := c.PutObjectAcl(ctx, &awss3.PutObjectAclInput{Bucket: aws.String("lists"), Key: aws.String("k"), ACL: "public-read"}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"000000000000:FULL_CONTROL", "http://acs.amazonaws.com/groups/global/AllUsers:READ"}, readers("lists")); diff != "" {
		t.Error(diff)
	}
	ownership := func() string {
		out, err := c.GetBucketOwnershipControls(ctx, &awss3.GetBucketOwnershipControlsInput{Bucket: aws.String("lists")})
		if err != nil {
			return code(err)
		}
		return string(out.OwnershipControls.Rules[0].ObjectOwnership)
	}
	if got := ownership(); got != ownerPreferred {
		t.Error(got)
	}
	rules := &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipObjectWriter}}}
	if _, err := c.PutBucketOwnershipControls(ctx, &awss3.PutBucketOwnershipControlsInput{Bucket: aws.String("lists"), OwnershipControls: rules}); err != nil || ownership() != objectWriter {
		t.Error(err, ownership())
	}
	if _, err := c.DeleteBucketOwnershipControls(ctx, &awss3.DeleteBucketOwnershipControlsInput{Bucket: aws.String("lists")}); err != nil || ownership() != "OwnershipControlsNotFoundError" {
		t.Error(err, ownership())
	}
}

func TestBucketsHaveRegions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	ctx := t.Context()
	eu := f.s3("eu-north-1")
	constraint := func(region string) *types.CreateBucketConfiguration {
		return &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
	}
	if _, err := eu.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("north")}); code(err) != "IllegalLocationConstraintException" {
		t.Error(err)
	}
	if _, err := eu.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("north"), CreateBucketConfiguration: constraint("eu-north-1")}); err != nil {
		t.Fatal(err)
	}
	if out, err := f.s3("us-east-1").GetBucketLocation(ctx, &awss3.GetBucketLocationInput{Bucket: aws.String("north")}); err != nil || out.LocationConstraint != "eu-north-1" {
		t.Error(out, err)
	}
	_, err := f.s3("us-east-1").HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("north")})
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusMovedPermanently || response.Response.Header.Get("X-Amz-Bucket-Region") != "eu-north-1" {
		t.Errorf("from another region: %v", err)
	}
	if _, err := f.s3("us-east-1").ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: aws.String("north")}); code(err) != "PermanentRedirect" {
		t.Error(err)
	}
	f.bucket("east", "")
	if out, err := f.s3("us-east-1").GetBucketLocation(ctx, &awss3.GetBucketLocationInput{Bucket: aws.String("east")}); err != nil || out.LocationConstraint != "" {
		t.Error(out, err)
	}
}

func TestS3Refuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	f.bucket("taken", "")
	c := f.s3("us-east-1")
	stranger := awss3.NewFromConfig(f.config("us-east-1", aws.Credentials{AccessKeyID: "AKIASTRANGER", SecretAccessKey: "x"}), func(o *awss3.Options) { o.UsePathStyle = true })
	liar := awss3.NewFromConfig(f.config("us-east-1", aws.Credentials{AccessKeyID: f.region.Credentials().AccessKeyID, SecretAccessKey: "x"}), func(o *awss3.Options) { o.UsePathStyle = true })
	bucket, key := aws.String("taken"), aws.String("k")
	create := func(name string, edit func(*awss3.CreateBucketInput)) error {
		in := &awss3.CreateBucketInput{Bucket: &name}
		if edit != nil {
			edit(in)
		}
		_, err := c.CreateBucket(context.Background(), in)
		return err
	}
	put := func(edit func(*awss3.PutObjectInput)) error {
		in := &awss3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("text")}
		edit(in)
		_, err := c.PutObject(context.Background(), in)
		return err
	}
	for want, err := range map[string]error{
		"InvalidBucketName":                   create("Capital", nil),
		"InvalidBucketAclWithObjectOwnership": create("new", func(in *awss3.CreateBucketInput) { in.ACL = "private" }),
		"InvalidLocationConstraint": create("new", func(in *awss3.CreateBucketInput) {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: "us-east-1"}
		}),
		"InvalidArgument": create("new", func(in *awss3.CreateBucketInput) { in.ObjectOwnership = "Nobody" }),
		"BadDigest": put(func(in *awss3.PutObjectInput) {
			in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(make([]byte, 16)))
		}),
		"BadDigest ":            put(func(in *awss3.PutObjectInput) { in.ChecksumSHA1 = aws.String("2jmj7l5rSw0yVb/vlWAYkK/YBwk=") }),
		"NoSuchBucket":          put(func(in *awss3.PutObjectInput) { in.Bucket = aws.String("elsewhere") }),
		"KeyTooLongError":       put(func(in *awss3.PutObjectInput) { in.Key = aws.String(strings.Repeat("k", 1025)) }),
		"NotImplemented":        put(func(in *awss3.PutObjectInput) { in.ServerSideEncryption = "AES256" }),
		"InvalidAccessKeyId":    second(stranger.ListBuckets(t.Context(), nil)),
		"SignatureDoesNotMatch": second(liar.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("text")})),
		"NoSuchKey":             second(c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: bucket, Key: key})),
		"NoSuchKey ":            second(c.GetObjectAcl(t.Context(), &awss3.GetObjectAclInput{Bucket: bucket, Key: key})),
		"NotImplemented ":       second(c.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: bucket, Key: key})),
		"NotImplemented  ":      second(c.PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String("{}")})),
	} {
		if code(err) != strings.TrimSpace(want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if objects, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: bucket}); err != nil || len(objects.Contents) != 0 {
		t.Errorf("something was stored: %v (%v)", objects.Contents, err)
	}
	if files, err := os.ReadDir(filepath.Join(f.region.opt.Dir, "s3", "data")); err != nil || len(files) != 0 {
		t.Errorf("bytes of no object stay: %v (%v)", files, err)
	}
	// Without a signature, and with a body that is not the one that was signed.
	response, err := http.Get(f.url + "/taken/k")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusForbidden || !bytes.Contains(text, []byte("<Code>AccessDenied</Code>")) {
		t.Errorf("unsigned: %s %s", response.Status, text)
	}
}

func second[T any](_ T, err error) error { return err }

// The AWS CLI works with it.
func TestS3CLI(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(awsCLI); err != nil {
		t.Skip("no AWS CLI")
	}
	f := newFixture(t, Options{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file one"), bytes.Repeat([]byte("text "), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	f.must("", "s3api", "create-bucket", "--bucket", "cli", "--object-ownership", "BucketOwnerPreferred")
	f.must("ETag", "s3api", "put-object", "--bucket", "cli", "--key", "a/file one", "--body", filepath.Join(dir, "file one"), "--acl", "aws-exec-read")
	if got := f.must("Contents Key", "s3api", "list-objects-v2", "--bucket", "cli", "--prefix", "a/"); got != "a/file one" {
		t.Error(got)
	}
	out, _ := f.aws("s3api", "get-object-acl", "--bucket", "cli", "--key", "a/file one")
	if !strings.Contains(fmt.Sprint(out), "za-team") {
		t.Error(out)
	}
	f.must("", "s3api", "get-object", "--bucket", "cli", "--key", "a/file one", filepath.Join(dir, "back"))
	if text, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || len(text) != 5000 {
		t.Error(len(text), err)
	}
	f.must("", "s3api", "delete-objects", "--bucket", "cli", "--delete", `{"Objects": [{"Key": "a/file one"}]}`)
	f.must("", "s3api", "delete-bucket", "--bucket", "cli")
	if _, fail := f.aws("s3api", "head-bucket", "--bucket", "cli"); !strings.Contains(fail, "404") {
		t.Error(fail)
	}
	if keys := f.region.s3.buckets.rows; len(keys) != 0 {
		t.Error(slices.Collect(func(yield func(string) bool) {
			for k := range keys {
				yield(k)
			}
		}))
	}
}

// answer is what came to a request.
type answer struct {
	status int
	header http.Header
	code   string // of the error; "" where there is none
}

// raw sends a signed request that no client of AWS's would make, and returns the reply and the code in its body.
func (f *fixture) raw(method, path string, body string, header map[string]string, unsigned map[string]string) (a answer) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(body)))
	r.Header.Set("X-Amz-Content-Sha256", digest)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if err := v4.NewSigner().SignHTTP(f.t.Context(), f.region.Credentials(), r, digest, "s3", "us-east-1", time.Now()); err != nil {
		f.t.Fatal(err)
	}
	for name, value := range unsigned {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<Code>")
	a.code, _, _ = strings.Cut(rest, "</Code>")
	a.status, a.header = response.StatusCode, response.Header
	return a
}

// TestConditions puts and gets objects on conditions.
func TestConditions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	f.bucket("bucket", "")
	c, ctx := f.s3("us-east-1"), t.Context()
	put := func(text string, edit func(*awss3.PutObjectInput)) error {
		in := &awss3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader(text), CacheControl: aws.String("no-store"),
			ContentEncoding: aws.String("identity")}
		edit(in)
		_, err := c.PutObject(ctx, in)
		return err
	}
	tag := func(text string) *string { return aws.String(fmt.Sprintf(`"%x"`, md5.Sum([]byte(text)))) }
	for _, s := range []struct {
		name, text string
		edit       func(*awss3.PutObjectInput)
		want       string
	}{
		{"over nothing", "one", func(in *awss3.PutObjectInput) { in.IfMatch = tag("one") }, "NoSuchKey"},
		{"a new one", "one", func(in *awss3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }, ""},
		{"a new one again", "two", func(in *awss3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }, "PreconditionFailed"},
		{"unless it is a certain one", "two", func(in *awss3.PutObjectInput) { in.IfNoneMatch = tag("one") }, "NotImplemented"},
		{"over another", "two", func(in *awss3.PutObjectInput) { in.IfMatch = tag("zero") }, "PreconditionFailed"},
		{"over what is there", "three", func(in *awss3.PutObjectInput) { in.IfMatch = tag("one") }, ""},
	} {
		if err := put(s.text, s.edit); code(err) != s.want {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), IfMatch: tag("three")})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(out.Body); err != nil || string(text) != "three" || aws.ToString(out.CacheControl) != "no-store" {
		t.Errorf("%q, %v, %v", text, aws.ToString(out.CacheControl), err)
	}
	for _, s := range []struct {
		name, method string
		header       map[string]string
		status       int
		code         string
	}{
		{"another", "GET", map[string]string{"If-Match": *tag("one")}, 412, "PreconditionFailed"},
		{"the same", "GET", map[string]string{"If-None-Match": *tag("three")}, 304, ""},
		{"no such range", "GET", map[string]string{"Range": "bytes=9-"}, 416, "InvalidRange"},
		{"two ranges", "GET", map[string]string{"Range": "bytes=0-0,2-2"}, 200, ""},
		{"delete on a condition", "DELETE", map[string]string{"If-Match": *tag("one")}, 501, "NotImplemented"},
	} {
		if r := f.raw(s.method, "/bucket/k", "", s.header, nil); r.status != s.status || r.code != s.code || s.code != "" && r.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d, %s", s.name, r.status, r.code)
		}
	}
}

func TestS3RefusesBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	f.bucket("bucket", types.ObjectOwnershipObjectWriter)
	crc, sha := "AAAAAA==", base64.StdEncoding.EncodeToString(make([]byte, 20))
	for _, c := range []struct {
		name             string
		header, unsigned map[string]string
		want             string
	}{
		{"MD5 that is none", map[string]string{"Content-Md5": "x"}, nil, "InvalidDigest"},
		{"checksum that is none", map[string]string{"X-Amz-Checksum-Crc32": "AAAA"}, nil, "InvalidRequest"},
		{"two checksums", map[string]string{"X-Amz-Checksum-Crc32": crc, "X-Amz-Checksum-Sha1": sha}, nil, "InvalidRequest"},
		{"checksum that is promised", map[string]string{"X-Amz-Sdk-Checksum-Algorithm": "CRC32"}, nil, "InvalidRequest"},
		{"large metadata", map[string]string{"X-Amz-Meta-A": strings.Repeat("m", 2048)}, nil, "MetadataTooLarge"},
		{"header that nobody signed", nil, map[string]string{"X-Amz-Acl": "public-read"}, "AccessDenied"},
		{"nothing wrong", map[string]string{"X-Amz-Checksum-Crc32": crc}, nil, ""},
	} {
		body := "text"
		if c.want == "" {
			body = "" // whose CRC-32 is 0
		}
		if r := f.raw("PUT", "/bucket/k", body, c.header, c.unsigned); r.code != c.want {
			t.Errorf("%s: %d, %s", c.name, r.status, r.code)
		}
	}
	for _, name := range []string{"xn--bucket", "bucket-s3alias", "bucket--ol-s3"} {
		if r := f.raw("PUT", "/"+name, "", nil, nil); r.code != "InvalidBucketName" {
			t.Errorf("%s: %d, %s", name, r.status, r.code)
		}
	}
	const owned = "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>"
	for text, want := range map[string]string{owned: "", owned + "\n": "", owned + "x": "MalformedXML", owned + owned: "MalformedXML"} {
		if r := f.raw("PUT", "/bucket?ownershipControls=", text, nil, nil); r.code != want {
			t.Errorf("%s: %d, %s", text, r.status, r.code)
		}
	}
	old, err := f.s3("us-east-1").ListObjects(t.Context(), &awss3.ListObjectsInput{Bucket: aws.String("bucket"), Marker: aws.String("a+b%41"), EncodingType: types.EncodingTypeUrl})
	if err != nil || aws.ToString(old.Marker) != "a%2Bb%2541" {
		t.Errorf("the marker is %v, %v", aws.ToString(old.Marker), err)
	}
}
