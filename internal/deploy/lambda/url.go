package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// request is an event of a function URL (payload format 2.0).
type request struct {
	RawPath        string            `json:"rawPath"`
	RawQueryString string            `json:"rawQueryString"`
	Headers        map[string]string `json:"headers"`
	Body           string            `json:"body"`
	Encoded        bool              `json:"isBase64Encoded"`
	Context        struct {
		Domain string `json:"domainName"`
		HTTP   struct {
			Method   string `json:"method"`
			SourceIP string `json:"sourceIp"`
		} `json:"http"`
	} `json:"requestContext"`
}

// response is what a function URL sends.
type response struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
	Encoded    bool              `json:"isBase64Encoded"`
}

// maxBody bounds what is sent, in bytes: Lambda takes 6 MB, and base64 makes four of three.
const maxBody = 4 << 20

// HTTP has a handler answer the requests of a function URL.
func HTTP(h http.Handler) Func {
	return func(ctx context.Context, event json.RawMessage) (any, *Error) {
		var in request
		if err := json.Unmarshal(event, &in); err != nil || in.Context.HTTP.Method == "" {
			return response{StatusCode: http.StatusBadRequest, Body: "this is no request of a function URL\n"}, nil
		}
		body := []byte(in.Body)
		if in.Encoded {
			var err error
			if body, err = base64.StdEncoding.DecodeString(in.Body); err != nil {
				return response{StatusCode: http.StatusBadRequest, Body: "the body is no base64\n"}, nil
			}
		}
		target := in.RawPath
		if in.RawQueryString != "" {
			target += "?" + in.RawQueryString
		}
		rq, err := http.NewRequestWithContext(ctx, in.Context.HTTP.Method, target, bytes.NewReader(body))
		if err != nil || !strings.HasPrefix(in.RawPath, "/") {
			return response{StatusCode: http.StatusBadRequest, Body: "this is no request\n"}, nil
		}
		rq.RequestURI, rq.Host, rq.RemoteAddr = target, in.Context.Domain, in.Context.HTTP.SourceIP+":0"
		for name, value := range in.Headers {
			rq.Header.Set(name, value)
		}
		w := &recorder{header: http.Header{}}
		h.ServeHTTP(w, rq)
		w.WriteHeader(http.StatusOK)
		if w.body.Len() > maxBody {
			return response{StatusCode: http.StatusInternalServerError, Headers: map[string]string{"content-type": "text/plain; charset=utf-8"},
				Body: "the answer is too large for AWS Lambda; ask for less at once\n"}, nil
		}
		out := response{StatusCode: w.status, Headers: map[string]string{}, Body: base64.StdEncoding.EncodeToString(w.body.Bytes()), Encoded: true}
		for name, values := range w.header {
			out.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		return out, nil
	}
}

// recorder keeps what a handler answers.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
