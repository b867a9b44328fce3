package region

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strings"

	"ingot/internal/region/sigv4"
)

const checksumHeader = "X-Amz-Checksum-"

// checksums are the algorithms that a client may send a body's checksum in, by the end of the header's name.
var checksums = map[string]func() hash.Hash{
	"Crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"Crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"Crc64nvme": func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) }, // the polynomial of NVMe, reversed
	"Sha1":      sha1.New,
	"Sha256":    sha256.New,
}

// sums is what is known of a body that was read and found to be what its sender says.
type sums struct {
	Size      int64
	MD5       string // in hexadecimal
	Algorithm string // of the checksum that came with it, a key of checksums; "" for none
	Checksum  string // in base64
}

// copyBody reads the body, and checks it against every digest that the request gives.
func (r *s3Request) copyBody(w io.Writer, limit int64) (s sums, err error) {
	md, signed := md5.New(), sha256.New()
	writers := []io.Writer{w, md, signed}
	var sum hash.Hash
	for name, algorithm := range checksums {
		if s.Checksum = r.Header.Get(checksumHeader + name); s.Checksum != "" {
			s.Algorithm, sum = name, algorithm()
			writers = append(writers, sum)
			break
		}
	}
	s.Size, err = io.Copy(io.MultiWriter(writers...), io.LimitReader(r.Body, limit+1))
	digest := md.Sum(nil)
	s.MD5 = hex.EncodeToString(digest)
	said, stated := r.Header.Get("X-Amz-Content-Sha256"), r.Header.Get("Content-Md5")
	switch {
	case err == nil && s.Size > limit:
		err = s3Errorf(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	case err != nil:
		err = s3Errorf(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	case said != sigv4.Unsigned && said != hex.EncodeToString(signed.Sum(nil)):
		err = s3Errorf(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	case stated != "" && stated != base64.StdEncoding.EncodeToString(digest):
		err = s3Errorf(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.")
	case sum != nil && s.Checksum != base64.StdEncoding.EncodeToString(sum.Sum(nil)):
		err = s3Errorf(http.StatusBadRequest, "BadDigest", "The %s you specified did not match the calculated checksum.", strings.ToUpper(s.Algorithm))
	}
	return s, err
}

// read reads a body that is kept in memory.
func (r *s3Request) read(limit int64) ([]byte, error) {
	var b bytes.Buffer
	_, err := r.copyBody(&b, limit)
	return b.Bytes(), err
}
