package region

import (
	"crypto/rsa"
	"errors"
	"os"
	"path/filepath"

	"ingot/internal/bundle"
)

// The key pair that stands in for the one with which EC2 opens the bundles of a partition. It is made when it is
// first needed.
const (
	bundleKeyFile  = "ec2-key.pem"
	bundleCertFile = "ec2-cert.pem"
)

// BundleCertificate returns the path of the certificate that bundles for the local region are encrypted for.
func (r *Region) BundleCertificate() (string, error) {
	path := filepath.Join(r.opt.Dir, bundleCertFile)
	r.keygen.Lock()
	defer r.keygen.Unlock()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	key, cert, err := bundle.Keygen("EC2 of the local region", r.opt.Now())
	if err != nil {
		return "", err
	}
	keyPath := filepath.Join(r.opt.Dir, bundleKeyFile)
	os.Remove(keyPath) // without its certificate, nobody has used it
	return path, bundle.WriteKeys(keyPath, key, path, cert)
}

// bundleKey returns the key that opens bundles.
func (r *Region) bundleKey() (*rsa.PrivateKey, error) {
	if _, err := r.BundleCertificate(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(r.opt.Dir, bundleKeyFile))
	if err != nil {
		return nil, err
	}
	return bundle.ParseKey(text)
}
