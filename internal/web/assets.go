package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
)

//go:embed assets
var files embed.FS

// asset is a file that pages refer to, by a URL that changes with its content.
type asset struct {
	url  string
	kind string
	body []byte
}

var (
	style  = load("style.css", "text/css; charset=utf-8")
	script = load("page.js", "text/javascript; charset=utf-8")
	icon   = load("icon.svg", "image/svg+xml")
)

func load(name, kind string) asset {
	body, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha256.Sum256(body)
	ext := path.Ext(name)
	return asset{"/assets/" + strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext, kind, body}
}

func (s *server) asset(r *query) (*answer, error) {
	for _, a := range []asset{style, script, icon} {
		if a.url == r.URL.Path {
			return &answer{status: http.StatusOK, kind: a.kind, cache: cacheForever, body: a.body}, nil
		}
	}
	return nil, errNotFound
}
