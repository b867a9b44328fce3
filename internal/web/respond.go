package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// How long an answer may be kept.
const (
	cacheShort   = "public, max-age=60"
	cacheForever = "public, max-age=31536000, immutable" // what has its hash in its URL
	cacheNever   = "no-store"
)

// policy allows our own style sheet, script and icon, and nothing else: no inline code, no other host.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// What the headers say, as slices: they are put into each answer as they are.
var (
	noSniff       = []string{"nosniff"}
	anyOrigin     = []string{"*"} // any site may read what is public
	exposed       = []string{"ETag"}
	varyEncoding  = []string{"Accept-Encoding"}
	varyAccept    = []string{"Accept, Accept-Encoding"}
	pageHeaders   = map[string][]string{"Content-Security-Policy": {policy}, "Referrer-Policy": {"strict-origin-when-cross-origin"}, "Cross-Origin-Opener-Policy": {"same-origin"}, "Permissions-Policy": {"camera=(), geolocation=(), microphone=()"}}
	dataHeaders   = map[string][]string{"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'; sandbox"}}
	encodingNames = [...][]string{plain: nil, gzipped: {"gzip"}, zstandard: {"zstd"}}
)

// answer is a whole answer to a GET. It must not change once it was sent: it may be in the cache.
type answer struct {
	status int
	kind   string // Content-Type
	cache  string // Cache-Control
	vary   []string
	header map[string][]string // more headers
	body   []byte

	once  [3]sync.Once // for each encoding
	forms [3]form
}

// form is an answer in an encoding.
type form struct {
	body   []byte
	length []string
}

// The encodings that we send.
const (
	plain = iota
	gzipped
	zstandard
)

// minPacked is the size from which compressing pays, in bytes: what fits into one packet anyway is sent as it is.
const minPacked = 1400

var gzips = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, 5)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

var zstds = sync.Pool{New: func() any {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // the options are constants
	}
	return w
}}

// in returns the body in an encoding.
func (a *answer) in(encoding int) *form {
	f := &a.forms[encoding]
	a.once[encoding].Do(func() {
		switch encoding {
		case gzipped:
			var b bytes.Buffer
			z := gzips.Get().(*gzip.Writer)
			z.Reset(&b)
			_, _ = z.Write(a.body) // a Buffer takes everything
			_ = z.Close()
			gzips.Put(z)
			f.body = b.Bytes()
		case zstandard:
			z := zstds.Get().(*zstd.Encoder)
			f.body = z.EncodeAll(a.body, nil)
			zstds.Put(z)
		default:
			f.body = a.body
		}
		f.length = []string{strconv.Itoa(len(f.body))}
	})
	return f
}

// sealed is an answer with its headers ready.
type sealed struct {
	*answer
	tag     string
	headers []header
}

type header struct {
	name  string
	value []string
}

// seal makes an answer ready to be sent. The ETag is weak (RFC 9110, section 8.8.1), as it stands for the compressed
// forms too.
func seal(a *answer) *sealed {
	s := &sealed{answer: a}
	set := func(name string, value []string) { s.headers = append(s.headers, header{name, value}) }
	set("X-Content-Type-Options", noSniff)
	if a.kind != "" {
		set("Content-Type", []string{a.kind})
	}
	if a.cache != "" {
		set("Cache-Control", []string{a.cache})
	}
	if a.vary == nil {
		a.vary = varyEncoding
	}
	set("Vary", a.vary)
	more := pageHeaders
	if !strings.HasPrefix(a.kind, "text/html") {
		more = dataHeaders
		set("Access-Control-Allow-Origin", anyOrigin)
		set("Access-Control-Expose-Headers", exposed)
	}
	if a.kind == jsonKind { // which no browser renders
		more = nil
	}
	for _, all := range []map[string][]string{more, a.header} {
		for name, value := range all {
			set(name, value)
		}
	}
	if a.status == http.StatusOK && a.cache != cacheNever {
		sum := sha256.Sum256(a.body)
		s.tag = `W/"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
		set("Etag", []string{s.tag})
	}
	return s
}

// send writes an answer, compressed if the client takes that, or 304 if the client has it.
func (s *sealed) send(w http.ResponseWriter, r *http.Request) (status int) {
	h := w.Header()
	for _, x := range s.headers {
		h[x.name] = x.value
	}
	if s.tag != "" {
		if have := r.Header.Get("If-None-Match"); have != "" && matches(have, s.tag) {
			w.WriteHeader(http.StatusNotModified)
			return http.StatusNotModified
		}
	}
	encoding := plain
	if len(s.body) >= minPacked {
		encoding = accepted(r.Header.Get("Accept-Encoding"))
	}
	f := s.in(encoding)
	if encoding != plain {
		h["Content-Encoding"] = encodingNames[encoding]
	}
	if s.status != http.StatusNoContent {
		h["Content-Length"] = f.length
	}
	w.WriteHeader(s.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(f.body) // an error means that the client has gone
	}
	return s.status
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

// weights reads a header of things that a client takes, with its weights (RFC 9110, section 12.4.2).
func weights(header string) map[string]float64 {
	all := make(map[string]float64)
	for part := range strings.SplitSeq(header, ",") {
		name, rest, _ := strings.Cut(part, ";")
		weight := 1.0
		for p := range strings.SplitSeq(rest, ";") {
			if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(p)), "q="); ok {
				if f, err := strconv.ParseFloat(q, 64); err == nil {
					weight = f
				}
			}
		}
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
			all[name] = weight
		}
	}
	return all
}

// accepted picks the encoding that the client likes best, and among equals the one that packs better.
func accepted(header string) int {
	switch header {
	case "":
		return plain
	case "gzip":
		return gzipped
	}
	all := weights(header)
	weight := func(name string) float64 {
		if w, ok := all[name]; ok {
			return w
		}
		return all["*"]
	}
	z, g := weight("zstd"), weight("gzip")
	switch {
	case z > 0 && z >= g:
		return zstandard
	case g > 0:
		return gzipped
	}
	return plain
}

// wantsPage says whether a client is a browser rather than a program: it names HTML, and does not prefer JSON.
func wantsPage(accept string) bool {
	all := weights(accept)
	return all["text/html"] > 0 && all["text/html"] >= all["application/json"]
}

// handle makes a handler of an endpoint.
func (s *server) handle(e *endpoint) http.Handler {
	count, inPath := s.metrics.of(e.id), e.inPath()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		status := s.look(e, inPath, r).send(w, r)
		count.add(status, time.Since(began))
	})
}

// look returns the answer to a request, from the cache if it is there.
func (s *server) look(e *endpoint, inPath []string, r *http.Request) *sealed {
	key, err := e.check(r, inPath)
	if err == nil {
		if e.path == "/{$}" && wantsPage(r.Header.Get("Accept")) {
			key = "page " + key
		}
		var a *sealed
		if a, err = s.cache.get(r, key, e.fresh, func(r *http.Request) (*answer, error) { return e.answer(s, &query{r, e}) }); err == nil {
			return a
		}
	}
	if e.page || wantsPage(r.Header.Get("Accept")) {
		return seal(s.fail(r, err))
	}
	status, detail := s.status(r, err)
	a, err := asJSON(problem{"about:blank", http.StatusText(status), status, detail})
	if err != nil {
		panic(err) // strings and a number
	}
	a.status, a.kind, a.cache, a.vary = status, "application/problem+json", cacheNever, varyAccept
	return seal(a)
}

// problem is an error as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func asJSON(v any) (*answer, error) {
	body, err := json.Marshal(v)
	return &answer{status: http.StatusOK, kind: jsonKind, cache: cacheShort, body: append(body, '\n')}, err
}
