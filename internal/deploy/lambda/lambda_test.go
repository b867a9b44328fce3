package lambda

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A runtime API that is not Lambda's: it has some events, and ends after them.
func TestServe(t *testing.T) {
	t.Parallel()
	events := []string{`{"ok":1}`, `{"bad":1}`}
	var answers []string
	n := 0
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/invocation/next") {
			if n == len(events) {
				cancel()
				return
			}
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "id-"+strconv.Itoa(n))
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10))
			_, _ = io.WriteString(w, events[n])
			n++
			return
		}
		body, _ := io.ReadAll(r.Body)
		answers = append(answers, strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/invocation/")+" "+string(body))
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	err := Serve(ctx, strings.TrimPrefix(server.URL, "http://"), func(ctx context.Context, event json.RawMessage) (any, *Error) {
		if limit, ok := ctx.Deadline(); !ok || time.Until(limit) > time.Minute {
			t.Errorf("the limit is %v", limit)
		}
		if strings.Contains(string(event), "bad") {
			return nil, &Error{"verdict", "it does not boot"}
		}
		return map[string]int{"n": 7}, nil
	})
	if ctx.Err() == nil {
		t.Error(err)
	}
	if got := strings.Join(answers, "\n"); got != `id-0/response {"n":7}`+"\n"+`id-1/error {"errorType":"verdict","errorMessage":"it does not boot"}` {
		t.Error(got)
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	f := HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			_, _ = w.Write(make([]byte, maxBody+1))
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Add("Vary", "Accept")
		w.Header().Add("Vary", "Accept-Encoding")
		w.WriteHeader(http.StatusTeapot)
		z := gzip.NewWriter(w)
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(z, r.Method+" "+r.Host+r.URL.String()+" "+r.Header.Get("X-One")+" "+string(body))
		_ = z.Close()
	}))
	ask := func(event string) response {
		t.Helper()
		out, failed := f(t.Context(), json.RawMessage(event))
		if failed != nil {
			t.Fatal(failed)
		}
		return out.(response)
	}
	got := ask(`{"rawPath":"/a%20b","rawQueryString":"q=1","headers":{"x-one":"1"},"body":"aGVsbG8=","isBase64Encoded":true,"requestContext":{"domainName":"x.on.aws","http":{"method":"POST"}}}`)
	raw, err := base64.StdEncoding.DecodeString(got.Body)
	if err != nil || !got.Encoded || got.StatusCode != http.StatusTeapot || got.Headers["vary"] != "Accept, Accept-Encoding" {
		t.Fatalf("%+v, %v", got, err)
	}
	z, err := gzip.NewReader(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(z); err != nil || string(text) != "POST x.on.aws/a%20b?q=1 1 hello" {
		t.Errorf("%s, %v", text, err)
	}
	if got := ask(`{"rawPath":"/large","requestContext":{"http":{"method":"GET"}}}`); got.StatusCode != http.StatusInternalServerError {
		t.Errorf("%d", got.StatusCode)
	}
	for _, event := range []string{`{}`, `[]`, `{"rawPath":"x","requestContext":{"http":{"method":"GET"}}}`, `{"rawPath":"/","body":"?","isBase64Encoded":true,"requestContext":{"http":{"method":"GET"}}}`,
		`{"rawPath":"/","requestContext":{"http":{"method":"G T"}}}`} {
		if got := ask(event); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", event, got.StatusCode)
		}
	}
}

func FuzzHTTP(f *testing.F) {
	f.Add([]byte(`{"rawPath":"/a","rawQueryString":"q=1","headers":{"x-one":"1"},"body":"aGVsbG8=","isBase64Encoded":true,"requestContext":{"http":{"method":"POST"}}}`))
	h := HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	f.Fuzz(func(t *testing.T, event []byte) {
		if _, failed := h(t.Context(), event); failed != nil {
			t.Error(failed)
		}
	})
}
