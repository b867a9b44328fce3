package region

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// TestJSONIsStrict sends bodies that are not one JSON document alone, with nothing in it that is not modelled.
func TestJSONIsStrict(t *testing.T) {
	t.Parallel()
	r, err := Open(t.Context(), Options{Dir: t.TempDir(), Regions: []string{"us-east-1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	send := func(service, path, target, body string) *httptest.ResponseRecorder {
		hr := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		hr.Header.Set("X-Amz-Target", target)
		digest := fmt.Sprintf("%x", sha256.Sum256([]byte(body)))
		if err := v4.NewSigner().SignHTTP(t.Context(), r.Credentials(), hr, digest, service, "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, hr)
		return w
	}
	for _, s := range []struct{ service, path, target, body string }{
		{"ssm", "/", "AmazonSSM.DescribeParameters", `{}`},
		{"servicequotas", "/", "ServiceQuotasV20190624.ListServiceQuotas", `{"ServiceCode":"ec2"}`},
		{"ebs", "/snapshots", "", `{"VolumeSize":1}`},
	} {
		for _, c := range []struct {
			name, body string
			refused    bool
		}{
			{"a document", s.body, false},
			{"white space", " " + s.body + "\r\n\t ", false},
			{"two documents", s.body + s.body, true},
			{"text", s.body + "x", true},
			{"a bracket", s.body + "}", true},
			{"a half", s.body[:len(s.body)-1], true},
			{"nothing", "", true},
			{"a member too many", strings.Replace(s.body, "{", `{"Odd":null,`, 1), true},
		} {
			w := send(s.service, s.path, s.target, strings.Replace(c.body, ",}", "}", 1))
			text := w.Body.String() + w.Header().Get("X-Amzn-ErrorType")
			if refused := w.Code == http.StatusBadRequest && strings.Contains(text, "SerializationException"); refused != c.refused || !refused && w.Code/100 != 2 {
				t.Errorf("%s of %s: %d %s", c.name, s.service, w.Code, text)
			}
		}
	}
}
