// Package pool keeps the connections that all of a process's clients of AWS share.
package pool

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"ingot/internal/publish/retry"
)

// Settings returns what a Pool may be made of. idle is the number of connections to a host that are kept while nothing
// uses them. It speaks HTTP/1.1: HTTP/2 would send all blocks for a region through one TCP connection, at the speed of its
// one congestion window.
func Settings(idle int) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 5 * time.Second }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = 0 // no limit over all hosts
			t.MaxIdleConnsPerHost = idle
			t.ResponseHeaderTimeout = retry.AttemptLimit
			t.ForceAttemptHTTP2 = false
			t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			t.WriteBufferSize = 64 << 10
		})
}

// Pool is the HTTP client of clients of AWS. Of a BuildableClient, each of them would make a copy for itself, with
// connections of its own: a handshake with every host for every client that is made.
type Pool struct {
	client   aws.HTTPClient
	settings *awshttp.BuildableClient // what client was made of; nil: it is somebody else's
}

// Of returns the pool that has a client's settings, or uses it if it is not one of the SDK's. A pool is its own.
func Of(c aws.HTTPClient) *Pool {
	switch c := c.(type) {
	case *Pool:
		return c
	case *awshttp.BuildableClient:
		return &Pool{c.Freeze(), c}
	}
	return &Pool{client: c}
}

// FirstByte returns a pool like p, but for how long an answer may take to begin once its request has been sent. Where p is
// of somebody else's making, that is left to them.
func (p *Pool) FirstByte(limit time.Duration) *Pool {
	if p.settings == nil {
		return p
	}
	return Of(p.settings.WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = limit }))
}

// Do implements aws.HTTPClient.
func (p *Pool) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = body{r.Body}
	}
	return p.client.Do(r)
}

// body is that of a request, without its WriteTo. Smithy's returns io.EOF once the body is closed, which Smithy does when
// the answer begins; io.WriterTo has nil for the end. When an answer comes before net/http has looked whether more follows
// what it has sent, net/http takes that for a broken request, and closes the connection while the answer is being read.
type body struct{ io.ReadCloser }
