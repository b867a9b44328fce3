package region

import (
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
)

// What object ownership can be. The first is what new buckets have since April 2023: no access control lists.
const (
	ownerEnforced  = "BucketOwnerEnforced"
	ownerPreferred = "BucketOwnerPreferred"
	objectWriter   = "ObjectWriter"
)

var ownerships = []string{ownerEnforced, ownerPreferred, objectWriter}

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	// reservedBucket matches names that S3 keeps for other things.
	reservedBucket = regexp.MustCompile(`^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$`)
)

type createBucketXML struct {
	Location string `xml:"LocationConstraint"`
}

func createBucket(w http.ResponseWriter, r *s3Request) error {
	var in createBucketXML
	if r.ContentLength != 0 {
		if err := r.decode(&in); err != nil {
			return err
		}
	}
	wanted := in.Location
	if wanted == "EU" {
		wanted = "eu-west-1"
	}
	home := wanted == r.area.name && wanted != "us-east-1" || wanted == "" && r.area.name == "us-east-1"
	ownership := r.Header.Get("X-Amz-Object-Ownership")
	if ownership == "" {
		ownership = ownerEnforced
	}
	switch acl := r.Header.Get("X-Amz-Acl"); {
	case !bucketName.MatchString(r.bucket) || reservedBucket.MatchString(r.bucket) || strings.Contains(r.bucket, "..") || net.ParseIP(r.bucket) != nil:
		return s3Errorf(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.")
	case !home && wanted == "":
		return s3Errorf(http.StatusBadRequest, "IllegalLocationConstraintException",
			"The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.")
	case wanted == "us-east-1", !home && r.area.r.areas[wanted] == nil: // us-east-1 has no name here
		return s3Errorf(http.StatusBadRequest, "InvalidLocationConstraint", "The specified location-constraint is not valid")
	case !home && r.area.name != "us-east-1":
		return s3Errorf(http.StatusBadRequest, "IllegalLocationConstraintException",
			"The %s location constraint is incompatible for the region specific endpoint this request was sent to.", wanted)
	case !slices.Contains(ownerships, ownership):
		return s3Errorf(http.StatusBadRequest, "InvalidArgument", "Invalid x-amz-object-ownership header: %.60s", ownership)
	case acl != "" && ownership == ownerEnforced:
		return s3Errorf(http.StatusBadRequest, "InvalidBucketAclWithObjectOwnership", "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
	case acl != "" && acl != "private":
		return notImplemented("the bucket ACL " + acl)
	}
	if wanted == "" {
		wanted = r.area.name
	}
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets.rows[r.bucket]; b != nil && (b.Region != "us-east-1" || r.area.name != "us-east-1") {
		return s3Errorf(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	} else if b == nil {
		objects, err := openTable[object](s.objectDir(r.bucket), "")
		if err != nil {
			return err
		}
		b = &bucket{Name: r.bucket, Region: wanted, Ownership: ownership, Created: r.area.r.opt.Now()}
		if err := s.buckets.put(r.bucket, b); err != nil {
			return err
		}
		s.objects[r.bucket] = objects
	}
	w.Header().Set("Location", "/"+r.bucket)
	return nil
}

// inBucket makes an operation of a function that reads or changes a bucket, with the lock held.
func inBucket(w http.ResponseWriter, r *s3Request, f func(b *bucket) error) error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	b, err := r.here()
	if err != nil {
		return err
	}
	w.Header().Set("X-Amz-Bucket-Region", b.Region)
	return f(b)
}

func headBucket(w http.ResponseWriter, r *s3Request) error {
	return inBucket(w, r, func(*bucket) error { return nil })
}

func deleteBucket(w http.ResponseWriter, r *s3Request) error {
	return inBucket(w, r, func(*bucket) error {
		if len(r.store.objects[r.bucket].rows) > 0 {
			return s3Errorf(http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty")
		}
		if err := r.store.buckets.drop(r.bucket); err != nil {
			return err
		}
		delete(r.store.objects, r.bucket)
		os.Remove(r.store.objectDir(r.bucket))
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// getLocation answers in every region.
func getLocation(w http.ResponseWriter, r *s3Request) error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	b := r.store.buckets.rows[r.bucket]
	if b == nil {
		return noSuchBucket()
	}
	region := b.Region
	if region == "us-east-1" { // it has no name here
		region = ""
	}
	writeXML(w, http.StatusOK, "LocationConstraint", s3Namespace, region)
	return nil
}

type bucketXML struct {
	Name    string
	Created string `xml:"CreationDate"`
}

type listBucketsXML struct {
	Owner   ownerXML
	Buckets []bucketXML `xml:"Buckets>Bucket"`
}

func listBuckets(w http.ResponseWriter, r *s3Request) error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	out := listBucketsXML{Owner: r.owner()}
	for _, b := range r.store.buckets.rows {
		out.Buckets = append(out.Buckets, bucketXML{b.Name, s3Time(b.Created)})
	}
	slices.SortFunc(out.Buckets, func(a, b bucketXML) int { return strings.Compare(a.Name, b.Name) })
	writeXML(w, http.StatusOK, "ListAllMyBucketsResult", s3Namespace, out)
	return nil
}

type ownershipXML struct {
	Rules []struct {
		Ownership string `xml:"ObjectOwnership"`
	} `xml:"Rule"`
}

func getOwnership(w http.ResponseWriter, r *s3Request) error {
	return inBucket(w, r, func(b *bucket) error {
		if b.Ownership == "" {
			return s3Errorf(http.StatusNotFound, "OwnershipControlsNotFoundError", "The bucket ownership controls were not found")
		}
		out := ownershipXML{}
		out.Rules = append(out.Rules, struct {
			Ownership string `xml:"ObjectOwnership"`
		}{b.Ownership})
		writeXML(w, http.StatusOK, "OwnershipControls", s3Namespace, out)
		return nil
	})
}

func putOwnership(w http.ResponseWriter, r *s3Request) error {
	var in ownershipXML
	if err := r.decode(&in); err != nil {
		return err
	}
	if len(in.Rules) != 1 || !slices.Contains(ownerships, in.Rules[0].Ownership) {
		return s3Errorf(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	return r.setOwnership(w, in.Rules[0].Ownership)
}

// deleteOwnership leaves a bucket as those from before there were ownership controls: with access control lists.
func deleteOwnership(w http.ResponseWriter, r *s3Request) error {
	err := r.setOwnership(w, "")
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (r *s3Request) setOwnership(w http.ResponseWriter, to string) error {
	return inBucket(w, r, func(b *bucket) error {
		changed := *b
		changed.Ownership = to
		return r.store.buckets.put(r.bucket, &changed)
	})
}
