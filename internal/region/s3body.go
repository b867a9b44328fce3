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

// stated returns the checksum that a request gives of its body, and what computes it; nil where it gives none.
func (r *s3Request) stated() (s sums, sum hash.Hash, err error) {
	for name, algorithm := range checksums {
		value := r.Header.Get(checksumHeader + name)
		switch {
		case value == "":
			continue
		case sum != nil:
			return s, nil, s3Errorf(http.StatusBadRequest, "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		s.Algorithm, s.Checksum, sum = name, value, algorithm()
		if !isDigest(value, sum.Size()) {
			return s, nil, s3Errorf(http.StatusBadRequest, "InvalidRequest", "Value for %s%s header is invalid.", strings.ToLower(checksumHeader), strings.ToLower(name))
		}
	}
	if sum == nil && r.Header.Get("X-Amz-Sdk-Checksum-Algorithm") != "" {
		return s, nil, s3Errorf(http.StatusBadRequest, "InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	}
	if md := r.Header.Get("Content-Md5"); md != "" && !isDigest(md, md5.Size) {
		return s, nil, s3Errorf(http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified was invalid.")
	}
	return s, sum, nil
}

// isDigest tells whether a text is that many bytes in base64.
func isDigest(text string, size int) bool {
	b, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(b) == size
}

// copyBody reads the body, and checks it against every digest that the request gives.
func (r *s3Request) copyBody(w io.Writer, limit int64) (s sums, err error) {
	md, signed := md5.New(), sha256.New()
	writers := []io.Writer{w, md, signed}
	s, sum, err := r.stated()
	if err != nil {
		return s, err
	}
	if sum != nil {
		writers = append(writers, sum)
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
