// Package sigv4 checks AWS Signature Version 4 on incoming requests: the server's half of what the SDKs
// sign with. It reads the Authorization header; presigned URLs and chunked payloads are not its business.
//
// The scheme is the one of "Signature Version 4 signing process" in the AWS General Reference.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// Unsigned stands in place of the payload's hash where the signature does not cover the payload.
	Unsigned = "UNSIGNED-PAYLOAD"
	// Skew is how far a request's date may be from the server's clock, either way.
	Skew = 5 * time.Minute

	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	dateLayout = "20060102T150405Z"

	maxHeader = 8 << 10 // bytes of an Authorization header
	maxSigned = 128     // headers it may name
)

// The ways in which a request can fail to prove who sent it.
var (
	ErrMissing   = errors.New("the request is not signed")
	ErrMalformed = errors.New("the Authorization header is malformed")
	ErrExpired   = errors.New("the request's date is too far from the server's clock")
	ErrMismatch  = errors.New("the signature does not match")
)

// Signature is the content of an Authorization header.
type Signature struct {
	AccessKey string
	Day       string // the credential scope's date: YYYYMMDD
	Region    string
	Service   string
	Headers   []string // the signed headers, lower case, sorted
	Sum       [sha256.Size]byte
}

// Parse reads the value of an Authorization header. Its error is ErrMissing or wraps ErrMalformed.
func Parse(header string) (*Signature, error) {
	if header == "" {
		return nil, ErrMissing
	}
	if len(header) > maxHeader {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxHeader)
	}
	scheme, rest, _ := strings.Cut(header, " ")
	if scheme != algorithm {
		return nil, fmt.Errorf("%w: the algorithm must be %s", ErrMalformed, algorithm)
	}
	var s Signature
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || value == "" {
			return nil, fmt.Errorf("%w: expected name=value", ErrMalformed)
		}
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("%w: %s is there twice", ErrMalformed, name)
		}
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return nil, fmt.Errorf("%w: it requires '%s' parameter", ErrMalformed, name)
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != terminator || slices.Contains(scope, "") {
		return nil, fmt.Errorf("%w: the credential must be ACCESS-KEY/DATE/REGION/SERVICE/%s", ErrMalformed, terminator)
	}
	s.AccessKey, s.Day, s.Region, s.Service = scope[0], scope[1], scope[2], scope[3]
	s.Headers = strings.Split(fields["SignedHeaders"], ";")
	if len(s.Headers) > maxSigned {
		return nil, fmt.Errorf("%w: more than %d signed headers", ErrMalformed, maxSigned)
	}
	for i, name := range s.Headers {
		if name == "" || name != strings.ToLower(name) || i > 0 && s.Headers[i-1] >= name {
			return nil, fmt.Errorf("%w: signed headers must be lower case, sorted, and each there once", ErrMalformed)
		}
	}
	if !slices.Contains(s.Headers, "host") {
		return nil, fmt.Errorf("%w: 'host' must be a signed header", ErrMalformed)
	}
	if n, err := hex.Decode(s.Sum[:], []byte(fields["Signature"][:min(len(fields["Signature"]), 2*len(s.Sum))])); err != nil ||
		n != len(s.Sum) || len(fields["Signature"]) != 2*len(s.Sum) {
		return nil, fmt.Errorf("%w: the signature must be %d hexadecimal digits", ErrMalformed, 2*len(s.Sum))
	}
	return &s, nil
}

// Verify checks the signature of r with the secret key. payload is the hash of the body in hexadecimal, or
// Unsigned. Its error is, or wraps, ErrMalformed, ErrExpired or ErrMismatch.
func (s *Signature) Verify(r *http.Request, payload, secret string, now time.Time) error {
	stamp := r.Header.Get("X-Amz-Date")
	if stamp == "" {
		stamp = r.Header.Get("Date")
	} else if !slices.Contains(s.Headers, "x-amz-date") {
		return fmt.Errorf("%w: 'x-amz-date' must be a signed header", ErrMalformed)
	}
	at, err := time.Parse(dateLayout, stamp)
	if err != nil {
		if at, err = http.ParseTime(stamp); err != nil {
			return fmt.Errorf("%w: the date %.40q is not valid", ErrMalformed, stamp)
		}
	}
	if at = at.UTC(); at.Format("20060102") != s.Day {
		return fmt.Errorf("%w: the credential's date is not the request's", ErrMismatch)
	}
	if d := now.Sub(at); d > Skew || d < -Skew {
		return fmt.Errorf("%w: signed at %s, now %s", ErrExpired, at.Format(dateLayout), now.UTC().Format(dateLayout))
	}
	canonical := sha256.Sum256([]byte(s.canonical(r, payload)))
	scope := strings.Join([]string{s.Day, s.Region, s.Service, terminator}, "/")
	text := strings.Join([]string{algorithm, at.Format(dateLayout), scope, hex.EncodeToString(canonical[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.Day, s.Region, s.Service, terminator} {
		key = sum(key, part)
	}
	if !hmac.Equal(sum(key, text), s.Sum[:]) {
		return ErrMismatch
	}
	return nil
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// canonical returns the canonical request, the text that both sides must agree on.
func (s *Signature) canonical(r *http.Request, payload string) string {
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	if s.Service != "s3" { // every service but S3 encodes the path, which is encoded already, once more
		path = escape(path, true)
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + path + "\n" + canonicalQuery(r.URL.RawQuery) + "\n")
	for _, name := range s.Headers {
		b.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(s.Headers, ";") + "\n" + payload)
	return b.String()
}

// headerValue returns a header as it is signed: values joined by commas, runs of spaces made one.
func headerValue(r *http.Request, name string) string {
	switch name { // net/http takes these two out of the header
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	values := slices.Clone(r.Header.Values(name))
	for i, v := range values {
		values[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(values, ",")
}

func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs [][2]string
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		pairs = append(pairs, [2]string{escape(unescape(name), false), escape(unescape(value), false)})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	parts := make([]string, len(pairs))
	for i, p := range pairs {
		parts[i] = p[0] + "=" + p[1]
	}
	return strings.Join(parts, "&")
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil { // a plus sign stays one, as in the signing rules
		return u
	}
	return s
}

// escape encodes all but the unreserved characters of RFC 3986, and, where keepSlash is set, the slash.
func escape(s string, keepSlash bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}
