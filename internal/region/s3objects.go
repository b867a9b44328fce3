package region

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	maxObject  = 5 << 30 // bytes of one put
	maxKey     = 1024    // bytes
	maxMeta    = 2 << 10 // bytes of x-amz-meta-*, the names without that
	maxDeletes = 1000    // keys of one request
)

// keptHeaders come back with an object as they came with it, as those of x-amz-meta-* do.
var keptHeaders = []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}

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
	meta := 0
	for name := range r.Header {
		own, isMeta := strings.CutPrefix(name, "X-Amz-Meta-")
		if isMeta || slices.Contains(keptHeaders, name) {
			o.Meta[name] = r.Header.Get(name)
		}
		if isMeta {
			meta += len(own) + len(o.Meta[name])
		}
	}
	if meta > maxMeta {
		return s3Errorf(http.StatusBadRequest, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
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
	if err = r.store.put(o, r.mayReplace); err != nil {
		return err
	}
	w.Header().Set("Etag", o.etag())
	o.writeChecksum(w)
	return nil
}

// mayReplace says whether an object may be put in the place of another, which is nil where there is none.
func (r *s3Request) mayReplace(old *object) error {
	match, none := strings.Trim(r.Header.Get("If-Match"), `"`), r.Header.Get("If-None-Match")
	switch {
	case none != "" && none != "*":
		return notImplemented("If-None-Match with anything but *")
	case match != "" && old == nil:
		return noSuchKey()
	case match != "" && match != old.MD5, none != "" && old != nil:
		return preconditionFailed()
	}
	return nil
}

func noSuchKey() error {
	return s3Errorf(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
}

func preconditionFailed() error {
	return s3Errorf(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
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
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // S3 answers several at once with the whole
	}
	content := &contentWriter{ResponseWriter: w}
	http.ServeContent(content, r.Request, "", o.Modified, f)
	if content.refused != 0 {
		for name := range o.Meta {
			w.Header().Del(name)
		}
	}
	switch content.refused {
	case http.StatusPreconditionFailed:
		return preconditionFailed()
	case http.StatusRequestedRangeNotSatisfiable:
		return s3Errorf(content.refused, "InvalidRange", "The requested range is not satisfiable")
	}
	return nil
}

// contentWriter keeps back how net/http refuses to serve content, so that it can be said as S3 says it.
type contentWriter struct {
	http.ResponseWriter
	refused int // the status; 0: it was not refused
}

// WriteHeader implements http.ResponseWriter.
func (w *contentWriter) WriteHeader(status int) {
	if status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable {
		w.refused = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *contentWriter) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, by which the kernel copies a file to the connection.
func (w *contentWriter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

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
