package bundle

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"ingot/internal/fault"
)

// ReadManifest reads a manifest to its end. One that is encrypted, as early bundlers left them, is decrypted
// with key, which may be nil where none is.
func ReadManifest(r io.Reader, key *rsa.PrivateKey) (*Manifest, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("reading the bundle's manifest: %w", err)
	}
	if text, _, err = Unseal(text, key); err != nil {
		return nil, err
	}
	return Parse(text)
}

// Unseal returns the text of a manifest, decrypted with the key if it is encrypted, and whether it is.
func Unseal(text []byte, key *rsa.PrivateKey) (plain []byte, sealed bool, err error) {
	if len(text) == 0 || text[0] != 1 && text[0] != 2 {
		return text, false, nil
	}
	if plain, err = decryptManifest(text, key); err != nil {
		return nil, true, fault.New(fault.Trust, fmt.Errorf("decrypting the bundle's manifest: %w", err), "")
	}
	return plain, true, nil
}

// decryptManifest opens an encrypted manifest: the scheme, a byte; the length of an RSA block, 16 bits, big-endian;
// the block, which holds an AES-128 key and an IV; the rest is AES-128-CBC.
func decryptManifest(text []byte, key *rsa.PrivateKey) ([]byte, error) {
	if key == nil {
		return nil, errors.New("it takes the user's private key, and none is given")
	}
	if len(text) < 3 {
		return nil, errors.New("it is cut short")
	}
	n := int(text[1])<<8 | int(text[2])
	if text = text[3:]; n > len(text) {
		return nil, errors.New("it is cut short")
	}
	plain, err := rsa.DecryptPKCS1v15(nil, key, text[:n]) //nolint:staticcheck // the format's padding
	if err != nil {
		return nil, err
	}
	if len(plain) != 32 {
		return nil, fmt.Errorf("its first block holds %d bytes, not a key and an IV of 16 each", len(plain))
	}
	s := &Secret{Key: [16]byte(plain[:16]), IV: [16]byte(plain[16:])}
	return io.ReadAll(newDecrypter(bytes.NewReader(text[n:]), s))
}
