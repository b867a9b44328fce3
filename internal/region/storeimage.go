package region

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"ingot/internal/bundle"
	"ingot/internal/fault"
)

// storeImage is a bundle in S3, which an instance store-backed AMI is made of. It is a bundle.Source.
type storeImage struct {
	a        *area
	location string // of the manifest: BUCKET/KEY
}

// read opens an object as EC2 does: in the image's region, and with what its access control list allows EC2.
func (s storeImage) read(location string) (*os.File, error) {
	answered := func(status, advice string) error {
		return errorf("InvalidManifest", "HTTP %s response for URL http://s3.amazonaws.com:80/%.300s: check your %s.", status, location, advice)
	}
	name, key, _ := strings.Cut(location, "/")
	store := s.a.r.s3
	store.mu.Lock()
	b := store.buckets.rows[name]
	elsewhere := b == nil || b.Region != s.a.name
	store.mu.Unlock()
	if elsewhere {
		return nil, answered("404 (Not Found)", "manifest path is correct and in the correct region")
	}
	o, f, err := store.open(name, key)
	var ae *apiError
	switch {
	case errors.As(err, &ae):
		return nil, answered("404 (Not Found)", "manifest path is correct and in the correct region")
	case err != nil:
		return nil, err
	case !slices.Contains(readByEC2, o.ACL):
		f.Close()
		return nil, answered("403 (Forbidden)", "S3 ACLs are correct")
	}
	return f, nil
}

// Open implements bundle.Source: parts stand beside the manifest.
func (s storeImage) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return s.read(path.Join(path.Dir(s.location), name))
}

// manifest reads the bundle's manifest, and checks what can be told from it and from the list of parts.
func (s storeImage) manifest() (*bundle.Manifest, error) {
	refuse := func(err error) error {
		var ae *apiError
		if errors.As(err, &ae) || fault.KindOf(err) == fault.Bug {
			return err
		}
		return errorf("InvalidManifest", "%v", err)
	}
	f, err := s.read(s.location)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := bundle.ReadManifest(f, nil)
	if err != nil {
		return nil, refuse(fmt.Errorf("unparsable manifest: %w", err))
	}
	o, err := s.options()
	if err != nil {
		return nil, err
	}
	if m.Size > bundle.MaxImageSize {
		return nil, errorf("InvalidManifest", "The image has %d bytes; an instance store-backed AMI has at most %d", m.Size, int64(bundle.MaxImageSize))
	}
	if m.User != s.a.r.opt.AccountID {
		return nil, errorf("AuthFailure", "Not authorized for image: the manifest names the account %s, and the caller is %s", m.User, s.a.r.opt.AccountID)
	}
	if _, err := m.Secret(o.Key); err != nil {
		return nil, refuse(err)
	}
	for _, p := range m.Parts {
		part, err := s.Open(context.Background(), p.Name)
		if err != nil {
			return nil, err
		}
		part.Close()
	}
	return m, nil
}

// options are those with which EC2 opens bundles. It has no key of the user's to check the signature by.
func (s storeImage) options() (bundle.ExtractOptions, error) {
	key, err := s.a.r.bundleKey()
	return bundle.ExtractOptions{Key: key, AnySignature: true}, err
}

// open reads the manifest, and says how to read the rest.
func (s storeImage) open() (*bundle.Manifest, bundle.ExtractOptions, error) {
	m, err := s.manifest()
	if err != nil {
		return nil, bundle.ExtractOptions{}, err
	}
	o, err := s.options()
	return m, o, err
}

// check reads the whole bundle.
func (s storeImage) check(ctx context.Context) error {
	m, o, err := s.open()
	if err != nil {
		return err
	}
	return bundle.Check(ctx, m, s, o, nil)
}

// write makes a raw image of it as it is, the size of its filesystem.
func (s storeImage) write(ctx context.Context, path string) error {
	m, o, err := s.open()
	if err != nil {
		return err
	}
	return bundle.Extract(ctx, m, s, path, o, nil)
}

// registerBundle registers an image whose manifest is in S3. It is pending until the whole bundle has been read.
func (a *area) registerBundle(in *registerImageIn) (*image, error) {
	m, err := storeImage{a, in.Location}.manifest()
	if err != nil {
		return nil, err
	}
	if in.Architecture == "" {
		in.Architecture = m.Architecture
	}
	for _, b := range m.BlockDevices {
		if b.Virtual == "root" && in.RootDevice == "" {
			in.RootDevice = "/dev/" + strings.TrimPrefix(b.Device, "/dev/")
		}
	}
	return &image{Location: in.Location, State: statePending}, nil
}

// examine reads the bundle of a pending image in the background.
func (a *area) examine(i *image) {
	a.r.work.Go(func() {
		err := storeImage{a, i.Location}.check(a.r.ctx)
		if a.r.ctx.Err() != nil {
			return // the next start begins anew
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		next := *a.images.rows[i.ID]
		if next.State != statePending { // it was deregistered
			return
		}
		if next.State = imageAvailable; err != nil {
			next.State, next.Reason = imageFailed, err.Error()
		}
		if err := a.images.put(i.ID, &next); err != nil {
			a.r.opt.Log.Error("recording an image", "image", i.ID, "error", err)
		}
	})
}
