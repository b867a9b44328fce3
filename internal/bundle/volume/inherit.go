package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"ingot/internal/bundle"
	"ingot/internal/fault"
)

// Metadata is what a running instance hands down to a bundle of it.
type Metadata struct {
	Kernel, Ramdisk string
	ProductCodes    []string
	Ancestors       []string // the instance's own image is the last one
	BlockDevices    []bundle.BlockDevice
}

// MetadataService is where instances ask about themselves.
const MetadataService = "http://169.254.169.254"

// Inherit asks the instance metadata service (version 2; version 1 where that is all there is) about the instance that
// this runs on.
func Inherit(ctx context.Context, endpoint string) (*Metadata, error) {
	c := &metadataClient{base: strings.TrimSuffix(endpoint, "/"), http: http.Client{Timeout: 5 * time.Second}}
	m, err := c.inherit(ctx)
	if err != nil {
		return nil, fault.New(fault.Unreachable, fmt.Errorf("inheriting the instance's metadata from %s: %w", endpoint, err),
			"this is for EC2 instances: without it, name kernel, block devices and the like yourself")
	}
	return m, nil
}

type metadataClient struct {
	base  string
	token string
	http  http.Client
}

func (c *metadataClient) inherit(ctx context.Context) (*Metadata, error) {
	if err := c.authorize(ctx); err != nil {
		return nil, err
	}
	m := &Metadata{}
	var errs []error
	list := func(name string) []string {
		text, err := c.get(ctx, "/latest/meta-data/"+name)
		errs = append(errs, err)
		return strings.Fields(text)
	}
	first := func(name string) string { return append(list(name), "")[0] }
	image := first("ami-id")
	m.Kernel, m.Ramdisk, m.ProductCodes, m.Ancestors = first("kernel-id"), first("ramdisk-id"), list("product-codes"), list("ancestor-ami-ids")
	if image != "" && !slices.Contains(m.Ancestors, image) {
		m.Ancestors = append(m.Ancestors, image)
	}
	for _, virtual := range list("block-device-mapping/") {
		if strings.HasPrefix(virtual, "ebs") { // a volume of that instance
			continue
		}
		if device := first("block-device-mapping/" + virtual); device != "" {
			m.BlockDevices = append(m.BlockDevices, bundle.BlockDevice{Virtual: virtual, Device: device})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if image == "" {
		return nil, errors.New("it knows no instance")
	}
	return m, nil
}

// authorize gets a session token.
func (c *metadataClient) authorize(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, c.base+"/latest/api/token", nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "300")
	status, text, err := c.do(r)
	switch {
	case err != nil:
		return err
	case status == http.StatusOK:
		c.token = text
	case status != http.StatusNotFound && status != http.StatusMethodNotAllowed: // a cloud that has version 1 alone
		return fmt.Errorf("asking for a token: %s", http.StatusText(status))
	}
	return nil
}

// get returns an entry, "" for one that is not there.
func (c *metadataClient) get(ctx context.Context, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return "", err
	}
	if c.token != "" {
		r.Header.Set("X-aws-ec2-metadata-token", c.token)
	}
	status, text, err := c.do(r)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusNotFound:
		return "", nil
	case status != http.StatusOK:
		return "", fmt.Errorf("asking for %s: %s", path, http.StatusText(status))
	}
	return text, nil
}

func (c *metadataClient) do(r *http.Request) (int, string, error) {
	response, err := c.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), err
}
