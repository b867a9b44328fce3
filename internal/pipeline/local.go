package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/region"
)

// endpointFile tells other processes where the local region with this state answers.
const endpointFile = "endpoint.json"

// Endpoint is where a local region answers, and as whom to speak to it.
type Endpoint struct {
	URL       string `json:"url"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	Account   string `json:"account"`
	EC2Cert   string `json:"ec2_cert"` // path of the certificate that bundles for it are encrypted for
}

// Clients returns clients of the local region.
func (e Endpoint) Clients() publish.Clients {
	return publish.New(aws.Config{
		BaseEndpoint: aws.String(e.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(e.AccessKey, e.SecretKey, ""),
	})
}

// LocalRegion returns the local region with its state in dir: the one that another process serves, or else
// one served by this process until end is called.
func LocalRegion(ctx context.Context, dir string, now func() time.Time) (_ Endpoint, end func() error, err error) {
	e, serve, close, err := ListenRegion(ctx, dir, "127.0.0.1:0", "", now)
	if fault.KindOf(err) == fault.Exists {
		if err := readJSON(filepath.Join(dir, endpointFile), &e); err != nil {
			return e, nil, fmt.Errorf("finding the local region that runs: %w", err)
		}
		return e, func() error { return nil }, nil
	}
	if err != nil {
		return e, nil, err
	}
	done := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() { done <- serve(serving) }()
	end = func() error {
		stop()
		return errors.Join(<-done, close())
	}
	return e, end, nil
}

// ListenRegion opens the local region with its state in dir on a loopback address. faults is a file of rules of what goes
// wrong, "" for none; now is its clock. serve answers until its context ends; close ends the instances and gives the state up.
func ListenRegion(ctx context.Context, dir, address, faults string, now func() time.Time) (e Endpoint, serve func(context.Context) error, close func() error, err error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return e, nil, nil, fault.Newf(fault.Usage, "listening on %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return e, nil, nil, fault.Newf(fault.Usage, "the local region listens on loopback addresses alone, and %s is none", host)
	}
	r, err := region.Open(ctx, region.Options{Dir: dir, Machines: region.QEMU{}, FaultsFile: faults, Now: now})
	if err != nil {
		return e, nil, nil, err
	}
	l, err := Listen(ctx, address)
	if err != nil {
		return e, nil, nil, errors.Join(err, r.Close())
	}
	c := r.Credentials()
	e = Endpoint{URL: "http://" + l.Addr().String(), AccessKey: c.AccessKeyID, SecretKey: c.SecretAccessKey, Account: c.AccountID}
	path := filepath.Join(dir, endpointFile)
	if e.EC2Cert, err = r.BundleCertificate(); err == nil {
		err = writeJSON(path, e)
	}
	if err != nil {
		return e, nil, nil, errors.Join(err, l.Close(), r.Close())
	}
	close = func() error {
		l.Close()
		return errors.Join(os.Remove(path), r.Close())
	}
	return e, func(ctx context.Context) error { return r.Serve(ctx, l) }, close, nil
}

// Listen listens on a TCP address. One in use is an error of kind fault.Exists, one that cannot be had of kind fault.Usage.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err == nil {
		return l, nil
	}
	err = fmt.Errorf("listening on %s: %w", address, err)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		err = fault.New(fault.Exists, err, "stop what listens there, or choose another address with --listen")
	case !errors.Is(err, unix.EACCES): // which says enough
		err = fault.New(fault.Usage, err, "an address is HOST:PORT, such as 127.0.0.1:8080, with a host of this machine")
	}
	return nil, err
}
