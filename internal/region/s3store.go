package region

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// s3Store keeps buckets and objects: a JSON file for each, and a file for each object's bytes, whose name is new
// each time, so that an object is replaced whole or not at all.
type s3Store struct {
	dir string

	mu      sync.Mutex
	buckets *table[bucket]
	objects map[string]*table[object] // by bucket, and in it by objectID
}

type bucket struct {
	Name, Region string
	Ownership    string
	Created      time.Time
}

type object struct {
	sums
	Bucket, Key, Type string
	ACL               string            // a canned one
	Meta              map[string]string // of x-amz-meta-*
	Modified          time.Time
	Data              string // the file that holds its bytes
}

// objectID is the name of an object's file: a key may hold anything.
func objectID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// openS3 opens the store. It removes bytes that belong to no object, of a put that was cut short, and objects whose bytes are not whole:
// they are not synced, and a power cut took some.
func openS3(dir string) (s *s3Store, err error) {
	s = &s3Store{dir: dir, objects: map[string]*table[object]{}}
	if s.buckets, err = openTable[bucket](filepath.Join(dir, "buckets"), ""); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for name := range s.buckets.rows {
		if s.objects[name], err = openTable[object](s.objectDir(name), ""); err != nil {
			return nil, err
		}
		for id, o := range s.objects[name].rows {
			if info, err := os.Stat(s.data(o.Data)); err == nil && info.Size() == o.Size {
				used[o.Data] = true
			} else if err := s.objects[name].drop(id); err != nil {
				return nil, err
			}
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "data"))
	for _, e := range entries {
		if !used[e.Name()] {
			err = errors.Join(err, os.Remove(s.data(e.Name())))
		}
	}
	return s, err
}

func (s *s3Store) objectDir(bucket string) string { return filepath.Join(s.dir, "objects", bucket) }
func (s *s3Store) data(name string) string        { return filepath.Join(s.dir, "data", name) }

// get returns an object, or nil where there is no such bucket or object. Call it with the lock held.
func (s *s3Store) get(bucket, key string) *object {
	if t := s.objects[bucket]; t != nil {
		return t.rows[objectID(key)]
	}
	return nil
}

// keys returns the keys of a bucket, in order. Call it with the lock held.
func (s *s3Store) keys(bucket string) []string {
	var keys []string
	for _, o := range s.objects[bucket].rows {
		keys = append(keys, o.Key)
	}
	slices.Sort(keys)
	return keys
}

// open opens an object's bytes.
func (s *s3Store) open(bucket, key string) (*object, *os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.get(bucket, key)
	if o == nil {
		return nil, nil, noSuchKey()
	}
	f, err := os.Open(s.data(o.Data))
	return o, f, err
}

// put stores an object whose bytes are in the file o.Data, if it may take the place of the old one, which may be nil.
func (s *s3Store) put(o *object, may func(old *object) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.objects[o.Bucket]
	if t == nil {
		return noSuchBucket()
	}
	old := t.rows[objectID(o.Key)]
	if err := may(old); err != nil {
		return err
	}
	if err := t.put(objectID(o.Key), o); err != nil {
		return err
	}
	if old != nil {
		os.Remove(s.data(old.Data)) // a leftover goes at the next start
	}
	return nil
}

// remove deletes an object; one that is not there is no error.
func (s *s3Store) remove(bucket, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.get(bucket, key)
	if o == nil {
		return nil
	}
	if err := s.objects[bucket].drop(objectID(key)); err != nil {
		return err
	}
	os.Remove(s.data(o.Data))
	return nil
}

// spool makes a new file for an object's bytes.
func (s *s3Store) spool() (*os.File, error) {
	return os.OpenFile(s.data(rand.Text()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func noSuchBucket() error {
	return s3Errorf(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
}

// here returns the request's bucket, if it is in the request's region. Call it with the lock held.
func (r *s3Request) here() (*bucket, error) {
	b := r.store.buckets.rows[r.bucket]
	if b == nil {
		return nil, noSuchBucket()
	}
	if b.Region != r.area.name {
		e := s3Errorf(http.StatusMovedPermanently, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.")
		e.Reason = b.Region
		return nil, e
	}
	return b, nil
}
