package bundle

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Options say how an image is bundled. What is marked optional may be left empty.
type Options struct {
	Dir     string // where parts and manifest go; it exists
	Prefix  string // what their names begin with; at most 99 bytes
	Replace bool   // a bundle of this prefix that is in Dir; without, it is an error

	User    string          // the AWS account that will own the AMI
	Key     *rsa.PrivateKey // the user's; it signs the manifest, and later opens the bundle
	EC2     *rsa.PublicKey  // what EC2 opens the bundle with; see EC2Key
	Bundler Bundler         // optional

	Architecture string // as EC2 spells it: i386, x86_64
	Type         Type   // optional: Machine
	KernelName   string // for Kernel alone
	KernelID     string // optional, as all below
	RamdiskID    string
	ProductCodes []string
	BlockDevices []BlockDevice
	Ancestors    []string

	PartSize int64     // bytes; 0 is PartSize
	Secret   *Secret   // nil is a new, random one; one that is given makes the parts reproducible
	Modified time.Time // what the tar header says; the zero Time is 1970, so that it does not vary
}

// Check refuses options that nothing can be bundled with, and fills in the defaults.
func (o *Options) Check() (err error) {
	bad := func(format string, args ...any) error { return fault.Newf(fault.Usage, format, args...) }
	if o.User, err = Account(o.User); err != nil {
		return err
	}
	if o.PartSize == 0 {
		o.PartSize = PartSize
	}
	if o.Type == "" {
		o.Type = Machine
	}
	if o.Bundler == (Bundler{}) {
		o.Bundler = Bundler{"ingot", "1.0", "0"}
	}
	switch {
	case !plainName(o.Prefix) || len(o.Prefix) > 99:
		return bad("the prefix %q is not a plain file name of at most 99 bytes", o.Prefix)
	case o.Key == nil || o.EC2 == nil:
		return bad("bundling takes the user's private key and EC2's certificate")
	case o.PartSize < 1:
		return bad("parts of %d bytes cannot be made", o.PartSize)
	case !word.MatchString(o.Architecture):
		return bad("%q is not an architecture", o.Architecture)
	}
	words := append(append([]string{o.KernelID, o.RamdiskID}, o.ProductCodes...), o.Ancestors...)
	virtual := make(map[string]bool)
	for _, b := range o.BlockDevices {
		if virtual[b.Virtual] || b.Virtual == "" || b.Device == "" {
			return bad("the block device mapping gives %q no device, or two", b.Virtual)
		}
		virtual[b.Virtual] = true
		words = append(words, b.Virtual, b.Device)
	}
	for _, w := range words {
		if w != "" && !word.MatchString(w) {
			return bad("%q is no id, device or product code", w)
		}
	}
	return nil
}

// Create bundles an image in one pass, and returns the manifest that it wrote beside the parts. Names appear in
// the directory when everything is done; a run that is killed leaves at most a hidden directory that the next
// one clears away. Nothing is synced: after a power cut, Extract tells whether the bundle is whole.
func Create(ctx context.Context, image *Image, o Options, task *progress.Task) (m *Manifest, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("bundling %s: %w", o.Prefix, err)
		}
	}()
	if err := errors.Join(o.Check(), image.check()); err != nil {
		return nil, err
	}
	if o.Secret == nil {
		o.Secret = NewSecret()
	}
	m = &Manifest{
		Version: Version, Bundler: o.Bundler,
		Architecture: o.Architecture, BlockDevices: o.BlockDevices, KernelID: o.KernelID, RamdiskID: o.RamdiskID,
		ProductCodes: o.ProductCodes,
		Name:         o.Prefix, User: o.User, Type: o.Type, KernelName: o.KernelName, Ancestors: o.Ancestors,
		Size: image.Size,
	}
	if m.UserKeys, err = o.Secret.wrap(&o.Key.PublicKey); err != nil {
		return nil, fmt.Errorf("encrypting its key for the user: %w", err)
	}
	if m.EC2, err = o.Secret.wrap(o.EC2); err != nil {
		return nil, fmt.Errorf("encrypting its key for EC2: %w", err)
	}
	s, err := newStage(o.Dir, o.Prefix, o.PartSize, o.Replace)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.discard()) }()

	if m.Digest, err = pack(ctx, s, image, &o, task); err != nil {
		return nil, err
	}
	if m.Parts, err = s.finish(); err != nil {
		return nil, err
	}
	m.BundledSize = s.total
	if err := m.check(); err != nil {
		return nil, err
	}
	if err := m.Sign(o.Key); err != nil {
		return nil, err
	}
	text := m.Encode()
	if again, err := Parse(text); err != nil || !bytes.Equal(again.signed, m.signed) {
		return nil, fault.Newf(fault.Bug, "its manifest does not read as it was written: %w", err)
	}
	return m, s.publish(text)
}

// pack writes the image, as an encrypted archive, to w, and returns the digest of the archive in hexadecimal.
func pack(ctx context.Context, w io.Writer, image *Image, o *Options, task *progress.Task) (string, error) {
	enc := newEncrypter(w, o.Secret)
	zip := newGzip(enc)
	defer func() { <-zip.stop() }()
	digest := sha1.New()
	if err := writeTar(ctx, io.MultiWriter(zip, digest), image, o.Prefix, o.Modified, task.Add); err != nil {
		return "", err
	}
	if err := zip.Close(); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), enc.Close()
}
