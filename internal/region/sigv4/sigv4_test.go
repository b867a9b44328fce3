package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

var at = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

// signed returns a request that the AWS SDK has signed, as a server gets it, and its payload's hash.
func signed(t *testing.T, method, url, body string, header http.Header) (*http.Request, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}, r, hash, "ec2", "us-east-1", at)
	if err != nil {
		t.Fatal(err)
	}
	got := httptest.NewRequest(method, r.URL.String(), strings.NewReader(body)) // the signer writes the query anew
	got.Header, got.Host = r.Header.Clone(), r.URL.Host
	return got, hash
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, url, body string
		header            http.Header
	}{
		"query":          {"POST", "http://127.0.0.1:8080/", "Action=DescribeRegions", nil},
		"parameters":     {"GET", "http://localhost/?b=2&a=1&a=%2B+x&c", "", nil},
		"escaped path":   {"GET", "http://localhost/snapshots/a%20b%2Fc/blocks", "", nil},
		"spaces":         {"GET", "http://localhost/", "", http.Header{"X-Amz-Thing": {"  a   b  "}}},
		"several values": {"GET", "http://localhost/", "", http.Header{"X-Amz-Thing": {"b", "a"}}},
	} {
		r, hash := signed(t, c.method, c.url, c.body, c.header)
		s, err := Parse(r.Header.Get("Authorization"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.AccessKey != "AKIDEXAMPLE" || s.Region != "us-east-1" || s.Service != "ec2" || s.Day != "20150830" {
			t.Errorf("%s: %+v", name, s)
		}
		if err := s.Verify(r, hash, secret, at); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for what, err := range map[string]error{
			"another secret":  s.Verify(r, hash, "x"+secret, at),
			"another payload": s.Verify(r, Unsigned, secret, at),
		} {
			if !errors.Is(err, ErrMismatch) {
				t.Errorf("%s with %s: %v", name, what, err)
			}
		}
		for _, late := range []time.Duration{Skew + time.Second, -Skew - time.Second} {
			if err := s.Verify(r, hash, secret, at.Add(late)); !errors.Is(err, ErrExpired) {
				t.Errorf("%s, %s late: %v", name, late, err)
			}
		}
		r.URL.RawQuery += "&more=1"
		if err := s.Verify(r, hash, secret, at); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s with another parameter: %v", name, err)
		}
	}
}

// TestVector checks the example of the AWS General Reference, which no library of ours had a part in.
func TestVector(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	s, err := Parse("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, " +
		"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
	if err != nil {
		t.Fatal(err)
	}
	empty := sha256.Sum256(nil)
	if err := s.Verify(r, hex.EncodeToString(empty[:]), secret, at); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("")
	f.Add("AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0f", 32))
	f.Add("AWS4-HMAC-SHA256 Credential=A/B/C/D/aws4_request,SignedHeaders=host;;,Signature=zz")
	f.Add("Basic abc")
	f.Fuzz(func(t *testing.T, header string) {
		s, err := Parse(header)
		if err != nil {
			if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrMalformed) {
				t.Errorf("%q: %v", header, err)
			}
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/a?b=c", nil)
		r.Header.Set("X-Amz-Date", "20150830T123600Z")
		if s.Verify(r, Unsigned, secret, at) == nil {
			t.Errorf("%q proves something", header)
		}
	})
}
