package region

import (
	"cmp"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const (
	maxObject  = 5 << 30 // bytes of one put
	maxKey     = 1024    // bytes
	maxDeletes = 1000    // keys of one request
)

func putObject(w http.ResponseWriter, r *s3Request) (err error) {
	switch {
	case len(r.key) > maxKey:
		return s3Errorf(http.StatusBadRequest, "KeyTooLongError", "Your key is too long")
	case r.ContentLength < 0:
		return s3Errorf(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
	case r.ContentLength > maxObject:
		return s3Errorf(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	o := &object{Bucket: r.bucket, Key: r.key, Type: cmp.Or(r.Header.Get("Content-Type"), "binary/octet-stream"), Meta: map[string]string{}}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			o.Meta[name] = r.Header.Get(name)
		}
	}
	if err := inBucket(w, r, func(b *bucket) (err error) {
		o.ACL, err = r.acl(b)
		return err
	}); err != nil {
		return err
	}
	f, err := r.store.spool()
	if err != nil {
		return err
	}
	o.Data = filepath.Base(f.Name())
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	o.sums, err = r.copyBody(f, maxObject)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	o.Modified = r.area.r.opt.Now()
	if err = r.store.put(o); err != nil {
		return err
	}
	w.Header().Set("Etag", o.etag())
	o.writeChecksum(w)
	return nil
}

// etag is the MD5 of an object that was put in one piece.
func (o *object) etag() string { return `"` + o.MD5 + `"` }

func (o *object) writeChecksum(w http.ResponseWriter) {
	if o.Algorithm != "" {
		w.Header().Set(checksumHeader+o.Algorithm, o.Checksum)
		w.Header().Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
}

// getObject answers HEAD, too, and ranges and conditions.
func getObject(w http.ResponseWriter, r *s3Request) error {
	if err := inBucket(w, r, func(*bucket) error { return nil }); err != nil {
		return err
	}
	o, f, err := r.store.open(r.bucket, r.key)
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Etag", o.etag())
	w.Header().Set("Content-Type", o.Type)
	for name, value := range o.Meta {
		w.Header().Set(name, value)
	}
	if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" && r.Header.Get("Range") == "" {
		o.writeChecksum(w)
	}
	http.ServeContent(w, r.Request, "", o.Modified, f)
	return nil
}

func deleteObject(w http.ResponseWriter, r *s3Request) error {
	if err := inBucket(w, r, func(*bucket) error { return nil }); err != nil {
		return err
	}
	if err := r.store.remove(r.bucket, r.key); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type deleteXML struct {
	Quiet   bool
	Objects []struct{ Key string } `xml:"Object"`
}

type deletedXML struct {
	Deleted []struct{ Key string }
}

func deleteObjects(w http.ResponseWriter, r *s3Request) error {
	if err := inBucket(w, r, func(*bucket) error { return nil }); err != nil {
		return err
	}
	checked := r.Header.Get("Content-Md5") != ""
	for name := range checksums {
		checked = checked || r.Header.Get(checksumHeader+name) != ""
	}
	if !checked {
		return s3Errorf(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: Content-MD5")
	}
	var in deleteXML
	if err := r.decode(&in); err != nil {
		return err
	}
	if len(in.Objects) == 0 || len(in.Objects) > maxDeletes {
		return s3Errorf(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	out := deletedXML{}
	for _, o := range in.Objects {
		if err := r.store.remove(r.bucket, o.Key); err != nil {
			return err
		}
		if !in.Quiet {
			out.Deleted = append(out.Deleted, o)
		}
	}
	writeXML(w, http.StatusOK, "DeleteResult", s3Namespace, out)
	return nil
}
