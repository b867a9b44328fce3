package imds

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Options say how strict the service is; they are launch options in EC2.
type Options struct {
	// TokensRequired refuses version 1 of the protocol (HttpTokens=required).
	TokensRequired bool
	// Failures is how many requests are answered by 503 before the service is up, as happens on an instance that has just started.
	Failures int
	// Now replaces the clock in tests.
	Now func() time.Time
}

// Headers of version 2 of the protocol.
const (
	headerToken = "X-aws-ec2-metadata-token"
	headerTTL   = "X-aws-ec2-metadata-token-ttl-seconds"
	maxTTL      = 21600 // seconds: six hours
)

// maxPath bounds the path of a request; the longest in the tree has about 80 characters.
const maxPath = 512

// Handler answers for one instance.
func Handler(i Instance, o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	i = i.complete()
	h := &handler{tokens: newTokens(o.Now), required: o.TokensRequired, userData: i.UserData, started: o.Now(), trees: map[string]tree{}}
	h.failures.Store(int64(o.Failures))
	meta, dynamic := i.entries(), i.dynamic()
	for _, v := range versions {
		h.trees[v] = i.version(v, meta, dynamic)
	}
	h.trees["latest"] = h.trees[versions[len(versions)-1]]
	return h
}

// version returns the tree that a dated version shows.
func (i Instance) version(v string, meta, dynamic map[string]entry) tree {
	leaves := map[string]string{}
	for prefix, entries := range map[string]map[string]entry{"meta-data/": meta, "dynamic/": dynamic} {
		for path, e := range entries {
			if slices.Index(versions, e.since) <= slices.Index(versions, v) {
				leaves[prefix+path] = e.value
			}
		}
	}
	t := newTree(leaves)
	if i.PublicKey != "" {
		// The one listing that names what it lists: index=name.
		t.dirs["meta-data/public-keys/"] = []string{"0=" + i.KeyName}
	}
	// The top level is listed without slashes.
	var top []string
	for _, name := range t.dirs[""] {
		top = append(top, strings.TrimSuffix(name, "/"))
	}
	if len(i.UserData) > 0 {
		top = append(top, "user-data")
	}
	t.dirs[""] = top
	return t
}

type handler struct {
	failures atomic.Int64 // still to come
	tokens   *tokens
	required bool
	trees    map[string]tree // by version
	userData []byte
	started  time.Time
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	if h.failures.Add(-1) >= 0 {
		fail(w, http.StatusServiceUnavailable)
		return
	}
	if len(r.URL.Path) > maxPath {
		fail(w, http.StatusNotFound)
		return
	}
	path := strings.TrimPrefix(squeeze(r.URL.Path), "/")
	version, rest, _ := strings.Cut(path, "/")
	if rest == "api/token" {
		h.issue(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	if token := r.Header.Get(headerToken); token != "" || h.required {
		left, ok := h.tokens.check(token)
		if !ok {
			fail(w, http.StatusUnauthorized)
			return
		}
		w.Header().Set(headerTTL, strconv.Itoa(left))
	}
	t, ok := h.trees[version]
	switch {
	case path == "":
		h.text(w, r, []byte(strings.Join(append(slices.Clone(versions), "latest"), "\n")), "text/plain")
	case !ok:
		fail(w, http.StatusNotFound)
	case rest == "user-data" && len(h.userData) > 0:
		h.text(w, r, h.userData, "application/octet-stream")
	default:
		value, ok := t.get(key(rest))
		if !ok {
			fail(w, http.StatusNotFound)
			return
		}
		h.text(w, r, []byte(value), "text/plain")
	}
}

// issue hands out a session token (PUT /latest/api/token).
func (h *handler) issue(w http.ResponseWriter, r *http.Request) {
	ttl, err := strconv.Atoi(r.Header.Get(headerTTL))
	switch {
	case r.Method != http.MethodPut:
		w.Header().Set("Allow", "OPTIONS, PUT")
		fail(w, http.StatusMethodNotAllowed)
	case r.Header.Get("X-Forwarded-For") != "": // a proxy asks, on behalf of who knows whom
		fail(w, http.StatusForbidden)
	case err != nil || ttl < 1 || ttl > maxTTL:
		fail(w, http.StatusBadRequest)
	default:
		w.Header().Set(headerTTL, strconv.Itoa(ttl))
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(h.tokens.issue(ttl)))
	}
}

func (h *handler) text(w http.ResponseWriter, r *http.Request, body []byte, kind string) {
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, r, "", h.started, bytes.NewReader(body)) // ranges, HEAD, If-Modified-Since
}

// squeeze makes one slash of several in a row.
func squeeze(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// key maps a path as clients ask for it to one of the tree: a public key may be named as it was listed,
// index=name.
func key(path string) string {
	const keys = "meta-data/public-keys/"
	rest, ok := strings.CutPrefix(path, keys)
	if !ok {
		return path
	}
	index, below, _ := strings.Cut(rest, "/")
	if number, _, named := strings.Cut(index, "="); named {
		return strings.TrimSuffix(keys+number+"/"+below, "/")
	}
	return path
}

// fail answers with an error page like the service's own.
func fail(w http.ResponseWriter, status int) {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>%s</title>
 </head>
 <body>
  <h1>%s</h1>
 </body>
</html>
`, title, title)
}
