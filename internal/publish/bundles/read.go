package bundles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ingot/internal/fault"
	"ingot/internal/publish/retry"
)

const (
	stall  = time.Minute // without a byte, after which a transfer is begun again where it stopped
	resume = 5           // times that one object's transfer is begun again
)

// Parts is a bundle.Source: the parts beside a manifest in S3.
type Parts struct {
	Bucket
	Manifest Location
}

// Open implements bundle.Source.
func (p Parts) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return p.open(ctx, p.Manifest.beside(name).Key)
}

// open opens an object for reading. Where the connection breaks or stalls, it goes on with the same object.
func (b Bucket) open(ctx context.Context, key string) (io.ReadCloser, error) {
	r := &reader{ctx: ctx, b: b, key: key}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

// reader reads an object to its end, in as many connections as that takes.
type reader struct {
	ctx    context.Context
	b      Bucket
	key    string
	etag   string
	at     int64
	tries  int
	body   io.ReadCloser
	watch  *time.Timer
	cancel context.CancelFunc
}

func (r *reader) connect() error {
	in := &s3.GetObjectInput{Bucket: &r.b.Name, Key: &r.key}
	if r.etag != "" {
		in.IfMatch = &r.etag
	}
	if r.at > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.at))
	}
	var out *s3.GetObjectOutput
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(r.ctx)
	// An attempt's own limit ends with it, and the body is read later: the client limits how long an answer takes.
	err := retry.Call(ctx, "s3:GetObject", retry.Policy{}, func(context.Context) (err error) {
		out, err = r.b.GetObject(ctx, in)
		return err
	})
	if err != nil {
		r.cancel()
		return fmt.Errorf("reading %s: %w", Location{r.b.Name, r.key}, err)
	}
	r.body, r.etag = out.Body, aws.ToString(out.ETag)
	r.watch = time.AfterFunc(stall, r.cancel)
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		n, err := r.body.Read(p)
		r.at += int64(n)
		r.watch.Reset(stall)
		if n > 0 && !errors.Is(err, io.EOF) {
			return n, nil // an error comes again
		}
		if err == nil || errors.Is(err, io.EOF) {
			return n, err
		}
		_ = r.Close() // what went wrong with it is known
		if r.ctx.Err() != nil {
			return n, r.ctx.Err()
		}
		if r.tries++; r.tries > resume {
			return n, fault.New(fault.Unreachable, fmt.Errorf("reading %s: %w", Location{r.b.Name, r.key}, err), "run the same command again")
		}
		if err := r.connect(); err != nil {
			return n, err
		}
	}
}

// Close ends the connection.
func (r *reader) Close() error {
	r.watch.Stop()
	err := r.body.Close()
	r.cancel()
	return err
}
