package bundle

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// stage is a hidden directory in the destination where a bundle comes into being. A bundle's parts get their
// names when all of them are there, its manifest after them: what has a manifest is whole. A run that was killed
// leaves the directory, which tells the next run to clear away what had got its name already.
type stage struct {
	dir, prefix, path string
	replace           bool
	held              *os.File // the directory, locked

	partSize int64
	parts    []Part
	total    int64
	f        *os.File
	length   int64
	sum      hash.Hash
}

// ManifestName returns the name of the manifest of a bundle with a prefix.
func ManifestName(prefix string) string { return prefix + ".manifest.xml" }

func newStage(dir, prefix string, partSize int64, replace bool) (*stage, error) {
	s := &stage{dir: dir, prefix: prefix, path: filepath.Join(dir, "."+prefix+".bundling"), replace: replace,
		partSize: partSize, sum: sha1.New()}
	made := os.Mkdir(s.path, 0o700)
	if made != nil && !errors.Is(made, os.ErrExist) {
		return nil, made
	}
	held, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	s.held = held
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		held.Close()
		return nil, fault.Newf(fault.Exists, "another run is bundling %s in %s", prefix, dir)
	}
	if made != nil { // a run was killed, perhaps while it gave names
		if _, err := os.Stat(filepath.Join(s.path, ManifestName(prefix))); err == nil {
			if err := s.clear(); err != nil {
				held.Close()
				return nil, err
			}
		}
		names, err := os.ReadDir(s.path)
		for _, n := range names {
			err = errors.Join(err, os.Remove(filepath.Join(s.path, n.Name())))
		}
		if err != nil {
			held.Close()
			return nil, err
		}
	}
	if old, err := s.existing(); err != nil || len(old) > 0 && !replace {
		if err == nil {
			err = fault.New(fault.Exists, fmt.Errorf("%s is there already", filepath.Join(dir, old[0])),
				"choose another prefix or directory, or ask to replace it")
		}
		return nil, errors.Join(err, s.discard())
	}
	return s, nil
}

// existing returns the names in the destination that a bundle with the prefix has, its manifest's first.
func (s *stage) existing() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	part := regexp.MustCompile(`^` + regexp.QuoteMeta(s.prefix) + `\.part\.[0-9]+$`)
	var names []string
	for _, e := range entries {
		if e.Name() == ManifestName(s.prefix) {
			names = append([]string{e.Name()}, names...)
		} else if part.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// clear removes a bundle of this prefix, its manifest first.
func (s *stage) clear() error {
	names, err := s.existing()
	for _, n := range names {
		if err == nil {
			err = os.Remove(filepath.Join(s.dir, n))
		}
	}
	return err
}

// Write cuts the stream into parts.
func (s *stage) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if s.f == nil {
			if len(s.parts) == maxParts {
				return 0, fault.Newf(fault.Input, "the bundle needs more than %d parts of %d bytes", maxParts, s.partSize)
			}
			f, err := os.OpenFile(s.part(len(s.parts)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
			if err != nil {
				return 0, err
			}
			s.f = f
		}
		n := int(min(int64(len(p)), s.partSize-s.length))
		if _, err := s.f.Write(p[:n]); err != nil {
			return 0, err
		}
		s.sum.Write(p[:n])
		s.length += int64(n)
		p = p[n:]
		if s.length == s.partSize {
			if err := s.endPart(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

func (s *stage) part(i int) string { return filepath.Join(s.path, fmt.Sprint(i)) }

func (s *stage) endPart() error {
	s.parts = append(s.parts, Part{Digest: hex.EncodeToString(s.sum.Sum(nil))})
	s.total += s.length
	err := s.f.Close()
	s.f, s.length = nil, 0
	s.sum.Reset()
	return err
}

// finish ends the last part, and names all of them. Their numbers have as many digits as their count.
func (s *stage) finish() ([]Part, error) {
	if s.f != nil {
		if err := s.endPart(); err != nil {
			return nil, err
		}
	}
	digits := len(fmt.Sprint(len(s.parts)))
	for i := range s.parts {
		s.parts[i].Name = fmt.Sprintf("%s.part.%0*d", s.prefix, digits, i)
	}
	return s.parts, nil
}

// publish gives the parts and the manifest their names. Where it fails, it takes them back.
func (s *stage) publish(manifest []byte) (err error) {
	staged := filepath.Join(s.path, ManifestName(s.prefix))
	if err := os.WriteFile(staged, manifest, 0o644); err != nil {
		return err
	}
	if err := s.clear(); err != nil { // what is to be replaced
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.clear())
		}
	}()
	for i, p := range s.parts {
		if err := os.Rename(s.part(i), filepath.Join(s.dir, p.Name)); err != nil {
			return err
		}
	}
	return os.Rename(staged, filepath.Join(s.dir, ManifestName(s.prefix)))
}

// discard removes what is staged.
func (s *stage) discard() error {
	if s.f != nil {
		s.f.Close()
	}
	err := os.RemoveAll(s.path)
	s.held.Close()
	return err
}
