package region

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

type contentXML struct {
	Key      string
	Modified string `xml:"LastModified"`
	ETag     string
	Size     int64
	Class    string `xml:"StorageClass"`
}

type commonPrefixXML struct{ Prefix string }

type listXML struct {
	Name      string
	Prefix    string
	Delimiter string `xml:",omitempty"`
	Encoding  string `xml:"EncodingType,omitempty"`
	MaxKeys   int
	Count     *int `xml:"KeyCount"`
	Truncated bool `xml:"IsTruncated"`

	Marker     *string
	NextMarker string `xml:",omitempty"`
	Token      string `xml:"ContinuationToken,omitempty"`
	NextToken  string `xml:"NextContinuationToken,omitempty"`
	StartAfter string `xml:",omitempty"`

	Contents []contentXML
	Prefixes []commonPrefixXML `xml:"CommonPrefixes"`
}

const maxListed = 1000 // keys of one page

// listObjects answers both versions of the listing.
func listObjects(w http.ResponseWriter, r *s3Request) error {
	q, v2 := r.query, r.query.Get("list-type") == "2"
	out := listXML{Name: r.bucket, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), Encoding: q.Get("encoding-type"), MaxKeys: maxListed}
	if text := q.Get("max-keys"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return s3Errorf(http.StatusBadRequest, "InvalidArgument", "Provided max-keys not an integer or within integer range")
		}
		out.MaxKeys = min(n, maxListed)
	}
	after := q.Get("marker")
	if v2 {
		out.Token, out.StartAfter, out.Count = q.Get("continuation-token"), q.Get("start-after"), new(int)
		token, err := base64.RawURLEncoding.DecodeString(out.Token)
		if err != nil {
			return s3Errorf(http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect")
		}
		after = max(out.StartAfter, string(token))
	} else {
		out.Marker = &after
	}
	return inBucket(w, r, func(*bucket) error {
		last := out.fill(r.store, after)
		if out.Truncated && v2 {
			out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(last))
		} else if out.Truncated && out.Delimiter != "" {
			out.NextMarker = last
		}
		if v2 {
			*out.Count = len(out.Contents) + len(out.Prefixes)
		}
		out.encode()
		writeXML(w, http.StatusOK, "ListBucketResult", s3Namespace, out)
		return nil
	})
}

// fill adds what comes after a key or common prefix, a page of it at most, and returns the last of that.
func (l *listXML) fill(s *s3Store, after string) (last string) {
	last = after
	for _, key := range s.keys(l.Name) {
		rest, ok := strings.CutPrefix(key, l.Prefix)
		if !ok {
			continue
		}
		name, common := key, false
		if l.Delimiter != "" {
			if at := strings.Index(rest, l.Delimiter); at >= 0 {
				name, common = l.Prefix+rest[:at+len(l.Delimiter)], true
			}
		}
		if name <= last {
			continue
		}
		if len(l.Contents)+len(l.Prefixes) == l.MaxKeys {
			l.Truncated = l.MaxKeys > 0
			return last
		}
		if last = name; common {
			l.Prefixes = append(l.Prefixes, commonPrefixXML{name})
			continue
		}
		o := s.get(l.Name, key)
		l.Contents = append(l.Contents, contentXML{key, s3Time(o.Modified), o.etag(), o.Size, "STANDARD"})
	}
	return last
}

// encode writes keys so that XML can hold them, where that was asked for.
func (l *listXML) encode() {
	if l.Encoding != "url" {
		return
	}
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }
	l.Prefix, l.Delimiter, l.StartAfter, l.NextMarker = escape(l.Prefix), escape(l.Delimiter), escape(l.StartAfter), escape(l.NextMarker)
	if l.Marker != nil {
		*l.Marker = escape(*l.Marker)
	}
	for i := range l.Contents {
		l.Contents[i].Key = escape(l.Contents[i].Key)
	}
	for i := range l.Prefixes {
		l.Prefixes[i].Prefix = escape(l.Prefixes[i].Prefix)
	}
}
