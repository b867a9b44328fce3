package bundle

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"

	"ingot/internal/fault"
)

// Secret is what encrypts a bundle: an AES-128 key and the first block's IV.
type Secret struct{ Key, IV [16]byte }

// NewSecret returns a random secret.
func NewSecret() *Secret {
	s := &Secret{}
	_, _ = rand.Read(s.Key[:]) // never fails
	_, _ = rand.Read(s.IV[:])
	return s
}

// wrap encrypts the secret for a recipient. What is encrypted, with PKCS#1 v1.5 padding, is the key's and the
// IV's hexadecimal text: the original passes it to openssl's command line as it comes out.
func (s *Secret) wrap(to *rsa.PublicKey) (w Wrapped, err error) {
	one := func(b [16]byte) string {
		c, e := rsa.EncryptPKCS1v15(rand.Reader, to, []byte(hex.EncodeToString(b[:]))) //nolint:staticcheck // the format's padding, decided in 2006
		err = errors.Join(err, e)
		return hex.EncodeToString(c)
	}
	w = Wrapped{Key: one(s.Key), IV: one(s.IV)}
	return w, err
}

// unwrap decrypts what wrap has encrypted.
func (w Wrapped) unwrap(key *rsa.PrivateKey) (*Secret, error) {
	s := &Secret{}
	for _, f := range []struct {
		from string
		to   *[16]byte
	}{{w.Key, &s.Key}, {w.IV, &s.IV}} {
		c, err := hex.DecodeString(f.from)
		if err != nil {
			return nil, errors.New("it is not hexadecimal")
		}
		text, err := rsa.DecryptPKCS1v15(nil, key, c) //nolint:staticcheck // the format's padding; nobody learns the outcome from afar
		if err != nil {
			return nil, err
		}
		if n, err := hex.Decode(f.to[:], text[:min(len(text), 32)]); err != nil || n != 16 || len(text) != 32 {
			return nil, errors.New("it does not hold 32 hexadecimal digits")
		}
	}
	return s, nil
}

// Secret decrypts the bundle's key with the user's private key, or with the cloud's.
func (m *Manifest) Secret(key *rsa.PrivateKey) (*Secret, error) {
	s, err := m.UserKeys.unwrap(key)
	if err == nil {
		return s, nil
	}
	if s, e := m.EC2.unwrap(key); e == nil {
		return s, nil
	}
	return nil, fault.New(fault.Trust, fmt.Errorf("decrypting the bundle's key with the given private key: %w", err),
		"it takes the private key of the certificate that the image was bundled with")
}

// ParseKey reads an RSA private key from PEM: PKCS#1 or PKCS#8, not encrypted.
func ParseKey(text []byte) (*rsa.PrivateKey, error) {
	bad := func(err error) error {
		return fault.New(fault.Input, fmt.Errorf("reading the private key: %w", err),
			"it is PEM, RSA, and not encrypted; `ingot bundle keygen` makes a pair")
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "RSA PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, bad(errors.New("it is encrypted"))
			}
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, bad(err)
			}
			return key, nil
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, bad(err)
			}
			if key, ok := key.(*rsa.PrivateKey); ok {
				return key, nil
			}
			return nil, bad(fmt.Errorf("it is a %T, not RSA", key))
		case "ENCRYPTED PRIVATE KEY":
			return nil, bad(errors.New("it is encrypted"))
		}
	}
	return nil, bad(errors.New("there is none in the text"))
}

// Certificate is what matters here of an X.509 certificate.
type Certificate struct {
	*rsa.PublicKey
	Fingerprint string // SHA-1, as `openssl x509 -fingerprint` prints it
}

// ParseCertificate reads the first X.509 certificate in PEM; its key is RSA. Its dates mean nothing here: the
// certificates that EC2 uses have expired long ago.
func ParseCertificate(text []byte) (*Certificate, error) {
	bad := func(err error) error {
		return fault.New(fault.Input, fmt.Errorf("reading the certificate: %w", err), "it is X.509 in PEM; `ingot bundle keygen` makes one")
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, bad(err)
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok {
			sum := sha1.Sum(block.Bytes)
			return &Certificate{key, strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")}, nil
		}
		return nil, bad(fmt.Errorf("its key is a %T, not RSA", cert.PublicKey))
	}
	return nil, bad(errors.New("there is none in the text"))
}

// Keygen makes a key and a certificate for it, signed by itself, as EC2 asks of who bundles: RSA of 2048 bits,
// SHA-256, valid for ten years from now on. Both are PEM; the key is PKCS#8.
func Keygen(name string, now time.Time) (key, cert []byte, err error) {
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	public := x509.MarshalPKCS1PublicKey(&pair.PublicKey)
	serial := sha256.Sum256(public)
	serial[0] &= 0x7f // positive
	template := &x509.Certificate{
		SerialNumber:       new(big.Int).SetBytes(serial[:16]),
		Subject:            pkix.Name{CommonName: name},
		NotBefore:          now.Add(-time.Hour).UTC(), // clocks differ
		NotAfter:           now.AddDate(10, 0, 0).UTC(),
		KeyUsage:           x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		SignatureAlgorithm: x509.SHA256WithRSA,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &pair.PublicKey, pair)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), nil
}

// WriteKeys writes a new key, which only its owner may read, and its certificate. It replaces nothing.
func WriteKeys(keyPath string, key []byte, certPath string, cert []byte) error {
	write := func(path string, mode os.FileMode, text []byte) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, os.ErrExist) {
			return fault.New(fault.Exists, fmt.Errorf("writing a new key pair: %s exists", path), "choose another name; keys are never overwritten")
		}
		if err == nil {
			_, err = f.Write(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return fmt.Errorf("writing a new key pair: %w", err)
		}
		return nil
	}
	if err := write(keyPath, 0o600, key); err != nil {
		return err
	}
	if err := write(certPath, 0o644, cert); err != nil {
		os.Remove(keyPath) // half a pair is of no use
		return err
	}
	return nil
}
