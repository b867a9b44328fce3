// Package bundles keeps instance-store bundles in S3, through the AWS SDK: it uploads, downloads, reads and deletes
// them. AWS, the local region (internal/region) and other makers' S3 are the same to it.
//
// Every transfer can be killed and run again: what is there already, by its checksum, is not sent or fetched twice,
// and a manifest comes last, so that what has a manifest is whole.
package bundles

import (
	"context"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ingot/internal/fault"
)

// S3 are the calls that bundles make to S3, each a permission that they need.
type S3 interface {
	HeadBucket(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error)
	CreateBucket(context.Context, *s3.CreateBucketInput, ...func(*s3.Options)) (*s3.CreateBucketOutput, error)
	DeleteBucket(context.Context, *s3.DeleteBucketInput, ...func(*s3.Options)) (*s3.DeleteBucketOutput, error)
	GetBucketOwnershipControls(context.Context, *s3.GetBucketOwnershipControlsInput, ...func(*s3.Options)) (*s3.GetBucketOwnershipControlsOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	PutObjectAcl(context.Context, *s3.PutObjectAclInput, ...func(*s3.Options)) (*s3.PutObjectAclOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
	DeleteObjects(context.Context, *s3.DeleteObjectsInput, ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error)
}

const (
	scheme   = "s3://"
	manifest = ".manifest.xml"
)

// IsLocation tells whether a text means something in S3, and not a file.
func IsLocation(text string) bool { return strings.HasPrefix(text, scheme) }

// Location is an object in S3, or a folder of objects.
type Location struct {
	Bucket string
	Key    string // without slashes at its ends; "" for the bucket itself
}

// ParseLocation reads s3://BUCKET/KEY.
func ParseLocation(text string) (Location, error) {
	rest, ok := strings.CutPrefix(text, scheme)
	bucket, key, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return Location{}, fault.Newf(fault.Usage, "%q is not s3://BUCKET/KEY", text)
	}
	return Location{bucket, strings.Trim(key, "/")}, nil
}

func (l Location) String() string { return strings.TrimSuffix(scheme+l.Bucket+"/"+l.Key, "/") }

// ImageLocation is the location of a manifest as EC2 takes it for RegisterImage.
func (l Location) ImageLocation() string { return l.Bucket + "/" + l.Key }

// beside returns another object in the folder of this one.
func (l Location) beside(name string) Location {
	return Location{l.Bucket, path.Join(path.Dir(l.Key), name)}
}

// within returns an object in this folder.
func (l Location) within(name string) Location { return Location{l.Bucket, path.Join(l.Key, name)} }

// prefix returns the prefix of a bundle whose manifest, or what precedes ".manifest.xml" in it, is at the location.
func (l Location) prefix() string { return strings.TrimSuffix(path.Base(l.Key), manifest) }

// Manifest returns where the manifest is of the bundle that a location names: by its manifest, or by its prefix.
func (l Location) Manifest() Location {
	if strings.HasSuffix(l.Key, ".xml") {
		return l
	}
	return Location{l.Bucket, l.Key + manifest}
}
