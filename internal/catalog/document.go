package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"ingot/internal/fault"
)

// The documents that releases usually have, by name.
const (
	SBOM    = "sbom.spdx.json"
	Console = "console.log" // what the machine of the boot test wrote
	Lock    = "lock.json"
)

// Document is a file that belongs to a release.
type Document struct {
	Name   string `json:"name"`
	Type   string `json:"type"` // its media type
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// MaxDocument bounds a document, in bytes.
const MaxDocument = 16 << 20

// Pack checks a document, fills in what its body says, and compresses that. It is for stores.
func Pack(releaseID string, d *Document, body []byte) ([]byte, error) {
	_, _, err := mime.ParseMediaType(d.Type)
	switch {
	case !validID.MatchString(d.Name):
		return nil, fault.Newf(fault.Input, "adding document %q to release %s: its name is not made of letters, digits, '.', '_' and '-'", d.Name, releaseID)
	case err != nil:
		return nil, fault.Newf(fault.Input, "adding document %s to release %s: %q is no media type", d.Name, releaseID, d.Type)
	case len(body) > MaxDocument:
		return nil, fault.Newf(fault.Input, "adding document %s to release %s: it has %d bytes, %d are the limit", d.Name, releaseID, len(body), MaxDocument)
	}
	sum := sha256.Sum256(body)
	d.Size, d.SHA256 = int64(len(body)), hex.EncodeToString(sum[:])
	return compress(body)
}

func compress(body []byte) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(body, nil), z.Close()
}

func decompress(packed []byte, limit uint64) ([]byte, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(limit))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.DecodeAll(packed, nil)
}

// Unpack returns the body of a document that Pack packed.
func Unpack(d Document, packed []byte) ([]byte, error) {
	body, err := decompress(packed, MaxDocument)
	if err == nil {
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != d.SHA256 {
			err = fmt.Errorf("its SHA-256 is another than the recorded one")
		}
	}
	if err != nil {
		return nil, fault.New(fault.Input, fmt.Errorf("reading document %s: %w", d.Name, err), "the catalogue is damaged: restore it from a backup")
	}
	return body, nil
}

// Check says which packages of a release the repositories have in another version.
type Check struct {
	At      time.Time `json:"at"` // of the repositories
	Updates []Update  `json:"updates"`
}

// Update is a package for which there is a newer one.
type Update struct {
	Name    string `json:"name"`
	Arch    string `json:"arch"`
	Version string `json:"version"` // in the image
	Newest  string `json:"newest"`
}

// NormalizeCheck brings a check into the form in which stores keep it. It is for stores.
func NormalizeCheck(c *Check) error {
	if c.At.IsZero() {
		return fault.Newf(fault.Input, "recording a check of packages: it has no time")
	}
	c.At = c.At.UTC().Truncate(time.Second)
	c.Updates = append([]Update{}, c.Updates...)
	slices.SortFunc(c.Updates, func(a, b Update) int { return compare(a.Name, b.Name, a.Arch, b.Arch) })
	return nil
}
