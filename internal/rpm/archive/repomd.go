package archive

import (
	"bytes"
	"context"
	"crypto"
	_ "crypto/sha1" //nolint:gosec // where the recipe allows it
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/progress"
)

const (
	maxRepomd    = 4 << 20   // bytes
	maxSignature = 1 << 20   // bytes
	maxMetadata  = 512 << 20 // bytes of a file, as fetched
)

// repomd is the table of contents of a repository's metadata (repodata/repomd.xml).
type repomd struct {
	Revision string `xml:"revision"`
	Data     []data `xml:"data"`
}

// data is a file of metadata.
type data struct {
	Type      string   `xml:"type,attr"`
	Checksum  checksum `xml:"checksum"`
	Location  location `xml:"location"`
	Timestamp string   `xml:"timestamp"`
	Size      int64    `xml:"size"` // 0 where createrepo was too old to say
}

type checksum struct {
	Type string `xml:"type,attr"`
	Sum  string `xml:",chardata"`
}

type location struct {
	Href string `xml:"href,attr"`
	Base string `xml:"base,attr"`
}

func parseRepomd(text []byte) (*repomd, error) {
	var r repomd
	d := xml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&r); err != nil {
		return nil, err
	}
	for i := range r.Data {
		switch l := &r.Data[i].Location; {
		case l.Href == "":
			return nil, fmt.Errorf("%s has no location", r.Data[i].Type)
		case l.Base != "" && l.Base != ".":
			return nil, fmt.Errorf("%s lies elsewhere, at %s, which is not supported", r.Data[i].Type, l.Base)
		}
	}
	return &r, nil
}

// find returns the first of the kinds of data that there is, or nil.
func (r *repomd) find(kinds ...string) *data {
	for _, kind := range kinds {
		for i := range r.Data {
			if r.Data[i].Type == kind {
				return &r.Data[i]
			}
		}
	}
	return nil
}

// date returns the newest date of the metadata, in whole seconds.
func (r *repomd) date() time.Time {
	newest := 0.0
	for _, d := range r.Data {
		if f, err := strconv.ParseFloat(strings.TrimSpace(d.Timestamp), 64); err == nil && f < math.MaxInt32*2 {
			newest = max(newest, math.Floor(f))
		}
	}
	return time.Unix(int64(newest), 0).UTC()
}

// hashes by the names that createrepo gives them. Its "sha" is SHA-1.
var hashes = map[string]crypto.Hash{"sha": crypto.SHA1, "sha1": crypto.SHA1, "sha224": crypto.SHA224, "sha256": crypto.SHA256,
	"sha384": crypto.SHA384, "sha512": crypto.SHA512}

// check says whether what content has to its end has the checksum, which may be of SHA-1 where there is a reason for it.
func (c checksum) check(content io.Reader, sha1 string) error {
	h, ok := hashes[strings.ToLower(c.Type)]
	if !ok {
		return fault.Newf(fault.Trust, "checksum of type %.20q is not supported", c.Type)
	}
	if h == crypto.SHA1 && sha1 == "" {
		return fault.New(fault.Trust, errors.New("the only checksum is one of SHA-1, which the recipe does not allow"),
			"where no better repository exists, allow it in the recipe's trust, with a reason")
	}
	want, err := hex.DecodeString(strings.TrimSpace(c.Sum))
	if err != nil {
		return fault.Newf(fault.Input, "%.150q is no checksum", c.Sum)
	}
	sum := h.New()
	if _, err := io.Copy(sum, content); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(sum.Sum(nil), want) != 1 {
		return fault.New(fault.Trust, fmt.Errorf("its %s is not the one that is announced", h), "the mirror may be in the middle of an update; try again later, or another one")
	}
	return nil
}

// get fetches a file of metadata and returns a reader of it, not decompressed.
func (s *source) get(ctx context.Context, c *fetch.Client, d *data, sha1 string, t *progress.Task) (io.ReadCloser, error) {
	if strings.EqualFold(d.Checksum.Type, "sha256") && d.Size > 0 {
		path, err := c.Get(ctx, fetch.File{Path: d.Location.Href, Size: d.Size, SHA256: strings.TrimSpace(d.Checksum.Sum),
			Name: s.Name + " " + d.Type, Mirrors: s.mirrors}, t)
		if err != nil {
			return nil, err
		}
		return os.Open(path)
	}
	return checked(ctx, c, s.mirrors, d.Location.Href, maxMetadata, func(f io.Reader) error { return d.Checksum.check(f, sha1) })
}

// checked fetches a file whose SHA-256 is not known, and has it read to its end by check before it returns it at its beginning.
func checked(ctx context.Context, c *fetch.Client, mirrors []string, path string, limit int64, check func(io.Reader) error) (*os.File, error) {
	f, _, err := c.Open(ctx, mirrors, path, limit)
	if err != nil {
		return nil, err
	}
	if err = check(f); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}
