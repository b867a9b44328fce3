package web

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

// endpoint is what answers at a path. The mux, the OpenAPI document and the metrics go by it.
type endpoint struct {
	path    string // of net/http's ServeMux, without the method
	id      string // of the operation, in the document and in the metrics
	summary string
	query   []string // the names of its query parameters; others are ignored
	answer  func(*server, *query) (*answer, error)
	kind    string // media type of a good answer
	of      any    // a value of the type that is sent as JSON
	page    bool   // errors are told by a page, and the document leaves it out
	fresh   bool   // made anew for each request
}

// param is a parameter in a path or in a query. Values of others than cursors have 200 bytes at most.
type param struct {
	description string
	pattern     string // of a path's: what does not match is not found
	enum        []string
	number      bool // from 1 on
	max         int  // bytes; 0 for maxValue
}

// maxValue bounds a parameter, in bytes. No name in the catalogue is as long.
const maxValue = 200

var params = map[string]param{
	"distro":          {description: "Only this distribution: debian, arch, centos"},
	"version":         {description: "Only this release of the distribution: 12, 6.10"},
	"name":            {description: "Only the image of this name, which is its recipe's"},
	"arch":            {description: "Only this architecture, as EC2 spells it: x86_64, arm64", pattern: `[a-z0-9_]{1,20}`},
	"region":          {description: "Only what has an AMI in this region, with that AMI alone", pattern: `[a-z]{2,4}(-[a-z]{1,20}){1,3}-[0-9]{1,2}`},
	"kind":            {description: "Only this kind of root device", enum: []string{"ebs", "instance-store"}},
	"state":           {description: "Only this state", enum: catalog.States()},
	"package":         {description: "Only releases that hold a package of this name; they come with it"},
	"package_version": {description: "With package: of a version that begins so"},
	"limit":           {description: "Releases to a page, at most 1000", number: true},
	"cursor":          {description: "The page after the one that gave this as next", max: 400},
	"from":            {description: "The release to compare with; the one before of the same image if it is left out"},
	"id":              {description: "A release", pattern: `[A-Za-z0-9][A-Za-z0-9._-]{0,199}`},
	"document":        {description: "A document of the release, by name", pattern: `[A-Za-z0-9][A-Za-z0-9._-]{0,199}`},
	"type":            {description: "The kernel: std, lts, ec2; which is the rest of the image's name behind arch-", pattern: `[a-z0-9][a-z0-9._-]{0,62}`},
	"file":            {description: "A file of the pages", pattern: `[a-z0-9.]{1,60}`},
	"run":             {description: "A run of a pipeline", pattern: `[0-9]{1,15}`},
	"step":            {description: "Only the log of this step"},
	"q":               {description: "Only packages whose name, version or source holds this"},
}

var filters = []string{"distro", "version", "name", "arch", "region", "kind"}

var braces = regexp.MustCompile(`\{([a-z_]+)\}`)

// inPath returns the names of the parameters in the path.
func (e *endpoint) inPath() (names []string) {
	for _, m := range braces.FindAllStringSubmatch(e.path, -1) {
		names = append(names, m[1])
	}
	return names
}

var patterns = func() map[string]*regexp.Regexp {
	all := make(map[string]*regexp.Regexp)
	for name, p := range params {
		if p.pattern != "" {
			all[name] = regexp.MustCompile("^(?:" + p.pattern + ")$")
		}
	}
	return all
}()

// check looks at a request's parameters, of which inPath names those of the path, and returns what of them names the answer.
func (e *endpoint) check(r *http.Request, inPath []string) (key string, err error) {
	for _, name := range inPath {
		if !patterns[name].MatchString(r.PathValue(name)) {
			return "", errNotFound
		}
	}
	if r.URL.RawQuery == "" || len(e.query) == 0 {
		return r.URL.Path, nil
	}
	q, known := r.URL.Query(), url.Values{}
	for _, name := range e.query {
		value, p := q.Get(name), params[name]
		if value == "" {
			continue
		}
		limit := p.max
		if limit == 0 {
			limit = maxValue
		}
		n, notNumber := strconv.Atoi(value)
		switch {
		case len(value) > limit:
			return "", fault.Newf(fault.Input, "query parameter %s is longer than %d bytes", name, limit)
		case p.number && (notNumber != nil || n < 1):
			return "", fault.Newf(fault.Input, "query parameter %s: %q is no number from 1 on", name, value)
		case len(p.enum) > 0 && !e.page && !slices.Contains(p.enum, value):
			return "", fault.Newf(fault.Input, "query parameter %s: %q is none of %s", name, value, strings.Join(p.enum, ", "))
		}
		known.Set(name, value)
	}
	return r.URL.Path + "?" + known.Encode(), nil
}

// query is a request to an endpoint, which has looked at its parameters.
type query struct {
	*http.Request
	e *endpoint
}

// filter reads the query parameters that select releases.
func (r *query) filter() catalog.Filter {
	q := r.URL.Query()
	get := func(name string) string {
		if slices.Contains(r.e.query, name) {
			return q.Get(name)
		}
		return ""
	}
	f := catalog.Filter{Distro: get("distro"), Version: get("version"), Name: get("name"), Arch: get("arch"), Region: get("region"),
		Kind: get("kind"), State: get("state"), Package: get("package"), PackageVersion: get("package_version"), Cursor: get("cursor")}
	f.Limit, _ = strconv.Atoi(get("limit"))
	return f
}
