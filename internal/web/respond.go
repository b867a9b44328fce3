package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// How long an answer may be kept.
const (
	cacheShort   = "public, max-age=60"
	cacheForever = "public, max-age=31536000, immutable" // what has its hash in its URL
	cacheNever   = "no-store"
)

// policy allows our own style sheet, script and icon, and nothing else: no inline code, no other host.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// secure adds the headers that narrow what a browser may do with any answer.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Server", ServerName)
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

// minGzip is the size from which compressing pays, in bytes: what fits into one packet anyway is sent as it is.
const minGzip = 1400

var gzips = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, 5)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// answer is a whole answer to a GET.
type answer struct {
	status int
	kind   string // Content-Type
	cache  string // Cache-Control
	body   []byte
}

// send writes an answer, compressed if the client takes that, or 304 if the client has it. The ETag is weak
// (RFC 9110, section 8.8.1), as it stands for the compressed form too.
func (a answer) send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", a.cache)
	h.Add("Vary", "Accept-Encoding")
	if a.status == http.StatusOK {
		sum := sha256.Sum256(a.body)
		tag := `W/"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
		h.Set("ETag", tag)
		if matches(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	body := a.body
	if len(body) >= minGzip && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		var b bytes.Buffer
		z := gzips.Get().(*gzip.Writer)
		z.Reset(&b)
		_, _ = z.Write(body) // a Buffer takes everything
		_ = z.Close()
		gzips.Put(z)
		body = b.Bytes()
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // an error means that the client has gone
}

// matches compares weakly, as If-None-Match does (RFC 9110, section 13.1.2).
func matches(header, tag string) bool {
	for have := range strings.SplitSeq(header, ",") {
		have = strings.TrimSpace(have)
		if have == "*" || strings.TrimPrefix(have, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

func acceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(coding, ";")
		if name = strings.TrimSpace(name); name == "gzip" || name == "*" {
			q := strings.ReplaceAll(params, " ", "")
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}
