package pool

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// serve answers with f, and counts the connections.
func serve(t *testing.T, f http.HandlerFunc) (url string, connections *atomic.Int64) {
	connections = new(atomic.Int64)
	s := httptest.NewUnstartedServer(f)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, connections
}

func TestShared(t *testing.T) {
	t.Parallel()
	url, connections := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><regionInfo/></DescribeRegionsResponse>`)
	})
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("x", "x", ""), HTTPClient: Of(Settings(2))}
	for range 5 {
		if _, err := ec2.NewFromConfig(cfg).DescribeRegions(t.Context(), &ec2.DescribeRegionsInput{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("five clients made %d connections", n)
	}
}

// closed is a body as Smithy's is when the answer came first: all of it has been read, and it has been closed.
type closed struct{ io.Reader }

func (closed) WriteTo(io.Writer) (int64, error) { return 0, io.EOF }
func (closed) Close() error                     { return nil }

func TestAnswerBeforeEndOfRequest(t *testing.T) {
	t.Parallel()
	url, connections := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})
	p := Of(Settings(2))
	for range 3 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, closed{strings.NewReader("Action=RunInstances")})
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = int64(len("Action=RunInstances"))
		res, err := p.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != "Action=RunInstances" {
			t.Errorf("%q, %v", got, err)
		}
		_ = res.Body.Close()
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("three requests took %d connections", n)
	}
}

func TestFirstByte(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url, _ := serve(t, func(http.ResponseWriter, *http.Request) { <-ctx.Done() })
	t.Cleanup(cancel) // before the server waits for its requests
	ask := func(c aws.HTTPClient) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(r)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	if err := ask(Of(Settings(1)).FirstByte(50 * time.Millisecond)); err == nil || !strings.Contains(err.Error(), "awaiting response headers") {
		t.Errorf("an answer that does not begin: %v", err)
	}
	theirs := &http.Client{Timeout: 50 * time.Millisecond}
	if err := ask(Of(theirs).FirstByte(time.Hour)); err == nil || !strings.Contains(err.Error(), "Client.Timeout") {
		t.Errorf("with a client of somebody else's making: %v", err)
	}
	if p := Of(awshttp.NewBuildableClient()); Of(p) != p {
		t.Error("a pool of a pool is another one")
	}
}
