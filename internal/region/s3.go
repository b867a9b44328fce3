package region

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"ingot/internal/region/sigv4"
)

// s3 is the S3 REST API, as far as bundles of instance store-backed images need it: path-style addresses, canned
// access control lists, ownership controls. Which bucket is where is one list for all regions, as at AWS.
type s3 struct{}

const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// s3Request is a request for a bucket or an object, or for neither.
type s3Request struct {
	*request
	store       *s3Store
	bucket, key string
	query       url.Values
}

// s3Operation is something that this S3 can do, and how it is asked for.
type s3Operation struct {
	method string
	level  string // service, bucket or object
	sub    string // the query parameter that names it; "" for none
	params []string
	do     func(w http.ResponseWriter, r *s3Request) error
}

var listParams = []string{"list-type", "prefix", "delimiter", "max-keys", "continuation-token", "start-after", "marker", "encoding-type", "fetch-owner"}

// s3Operations are all that this S3 can do.
var s3Operations = map[string]s3Operation{
	"CreateBucket":                  {http.MethodPut, "bucket", "", nil, createBucket},
	"DeleteBucket":                  {http.MethodDelete, "bucket", "", nil, deleteBucket},
	"DeleteBucketOwnershipControls": {http.MethodDelete, "bucket", "ownershipControls", nil, deleteOwnership},
	"DeleteObject":                  {http.MethodDelete, "object", "", nil, deleteObject},
	"DeleteObjects":                 {http.MethodPost, "bucket", "delete", nil, deleteObjects},
	"GetBucketAcl":                  {http.MethodGet, "bucket", "acl", nil, getBucketACL},
	"GetBucketLocation":             {http.MethodGet, "bucket", "location", nil, getLocation},
	"GetBucketOwnershipControls":    {http.MethodGet, "bucket", "ownershipControls", nil, getOwnership},
	"GetObject":                     {http.MethodGet, "object", "", nil, getObject},
	"GetObjectAcl":                  {http.MethodGet, "object", "acl", nil, getObjectACL},
	"HeadBucket":                    {http.MethodHead, "bucket", "", nil, headBucket},
	"HeadObject":                    {http.MethodHead, "object", "", nil, getObject},
	"ListBuckets":                   {http.MethodGet, "service", "", nil, listBuckets},
	"ListObjects":                   {http.MethodGet, "bucket", "", listParams, listObjects},
	"ListObjectsV2":                 {http.MethodGet, "bucket", "list-type", listParams, listObjects},
	"PutBucketOwnershipControls":    {http.MethodPut, "bucket", "ownershipControls", nil, putOwnership},
	"PutObject":                     {http.MethodPut, "object", "", nil, putObject},
	"PutObjectAcl":                  {http.MethodPut, "object", "acl", nil, putObjectACL},
}

// s3Headers are the headers of S3's own that are understood; those of the checksums and x-amz-meta-* are, too.
var s3Headers = []string{"X-Amz-Security-Token", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Acl", "X-Amz-Object-Ownership", "X-Amz-Sdk-Checksum-Algorithm",
	"X-Amz-Checksum-Mode", "X-Amz-Checksum-Algorithm", "X-Amz-User-Agent"}

// conditions are the headers by which a request depends on what is there, and preconditions those that operations understand.
var (
	conditions    = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}
	preconditions = map[string][]string{"GetObject": conditions, "HeadObject": conditions, "PutObject": {"If-Match", "If-None-Match"}}
)

// operation finds what a request asks for, and refuses what asks for more than is there.
func (r *s3Request) operation() (name string, _ *s3Operation, err error) {
	level := "service"
	if r.key != "" {
		level = "object"
	} else if r.bucket != "" {
		level = "bucket"
	}
	var found *s3Operation
	for n, o := range s3Operations {
		if o.method == r.Method && o.level == level && (o.sub == "" && found == nil || o.sub != "" && r.query.Has(o.sub)) {
			name, found = n, &o
		}
	}
	for name := range r.query {
		if name != "x-id" && (found == nil || name != found.sub && !slices.Contains(found.params, name)) {
			return "", nil, notImplemented("the parameter " + name)
		}
	}
	if found == nil {
		return "", nil, s3Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && !slices.Contains(s3Headers, name) &&
			!strings.HasPrefix(name, "X-Amz-Meta-") && checksums[strings.TrimPrefix(name, checksumHeader)] == nil {
			return "", nil, notImplemented("the header " + strings.ToLower(name))
		}
	}
	for _, header := range conditions {
		if r.Header.Get(header) != "" && !slices.Contains(preconditions[name], header) {
			return "", nil, notImplemented("the header " + header + " for " + name)
		}
	}
	return name, found, nil
}

func newS3Request(hr *request) (*s3Request, error) {
	r := &s3Request{request: hr, store: hr.area.r.s3}
	r.bucket, r.key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var err error
	if r.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, s3Errorf(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.")
	}
	return r, nil
}

func (s3) action(hr *request) string {
	r, err := newS3Request(hr)
	if err != nil {
		return ""
	}
	name, _, err := r.operation()
	if err != nil {
		return ""
	}
	return name
}

func (s3) refusals() refusals {
	return refusals{
		throttled:   apiError{Status: http.StatusServiceUnavailable, Code: "SlowDown", Message: "Please reduce your request rate."},
		unavailable: apiError{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "Service is unable to handle request."},
		forbidden:   apiError{Status: http.StatusForbidden, Code: "AccessDenied"},
		permissions: s3Permissions,
	}
}

// s3Permissions are the permissions that S3's operations need, where they are not named like the operation.
var s3Permissions = map[string]string{"DeleteBucketOwnershipControls": "PutBucketOwnershipControls", "DeleteObjects": "DeleteObject",
	"HeadBucket": "ListBucket", "HeadObject": "GetObject", "ListBuckets": "ListAllMyBuckets", "ListObjects": "ListBucket", "ListObjectsV2": "ListBucket"}

func (s3) serve(w http.ResponseWriter, hr *request) error {
	r, err := newS3Request(hr)
	if err != nil {
		return err
	}
	_, o, err := r.operation()
	if err != nil {
		return err
	}
	if err := o.do(w, r); err != nil {
		return err
	}
	r.area.r.opt.Log.Info("done", "request", r.id, "region", r.area.name, "method", r.Method, "path", r.URL.Path)
	return nil
}

// readS3 checks who sent a request. Its body is read, and compared with its signed digest, by who serves it.
func (r *Region) readS3(req *request, sig *sigv4.Signature) error {
	secret, err := r.secretOf(req.Request, sig)
	if err != nil {
		return s3{}.denied(err)
	}
	digest := req.Header.Get("X-Amz-Content-Sha256")
	switch {
	case digest == "":
		return s3Errorf(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	case strings.HasPrefix(digest, "STREAMING-"):
		return notImplemented("the payload's encoding " + digest)
	}
	if err := sig.Verify(req.Request, digest, secret, r.opt.Signed()); err != nil {
		return s3{}.denied(err)
	}
	for name := range req.Header {
		if strings.HasPrefix(name, "X-Amz-") && !slices.Contains(sig.Headers, strings.ToLower(name)) {
			return s3Errorf(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed")
		}
	}
	if req.area = r.areas[sig.Region]; req.area == nil {
		return s3{}.denied(errNoRegion)
	}
	return nil
}

func s3Errorf(status int, code, format string, args ...any) *apiError {
	return &apiError{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func notImplemented(what string) error {
	return s3Errorf(http.StatusNotImplemented, "NotImplemented", "The local region does not implement %.100s", what)
}

type s3ErrorXML struct {
	Code    string
	Message string
	Region  string `xml:",omitempty"`
	ID      string `xml:"RequestId"`
}

func (s3) fail(w http.ResponseWriter, id string, err *apiError) {
	if err.Reason != "" { // the region where the bucket is
		w.Header().Set("X-Amz-Bucket-Region", err.Reason)
	}
	writeXML(w, err.Status, "Error", "", s3ErrorXML{err.Code, err.Message, err.Reason, id})
}

func (s3) denied(err error) *apiError {
	switch {
	case errors.Is(err, sigv4.ErrMissing):
		return s3Errorf(http.StatusForbidden, "AccessDenied", "Access Denied")
	case errors.Is(err, sigv4.ErrMalformed):
		return s3Errorf(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; %v", err)
	case errors.Is(err, sigv4.ErrExpired):
		return s3Errorf(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	case errors.Is(err, sigv4.ErrMismatch):
		return s3Errorf(http.StatusForbidden, "SignatureDoesNotMatch", mismatch)
	case errors.Is(err, errOldToken):
		return s3Errorf(http.StatusBadRequest, "ExpiredToken", "The provided token has expired.")
	case errors.Is(err, errNoKey):
		return s3Errorf(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
	case errors.Is(err, errNoRegion):
		return s3Errorf(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; the region is wrong")
	}
	return s3Errorf(http.StatusInternalServerError, "InternalError", "We encountered an internal error. Please try again.")
}

// s3Time is how S3 writes a time in XML.
func s3Time(t time.Time) string { return t.UTC().Format(timeLayout) }

// decode reads a small XML document in a request's body.
func (r *s3Request) decode(v any) error {
	text, err := r.read(1 << 20)
	if err != nil {
		return err
	}
	dec := xml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(v); err != nil || len(bytes.TrimSpace(text[dec.InputOffset():])) > 0 {
		return s3Errorf(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	return nil
}
