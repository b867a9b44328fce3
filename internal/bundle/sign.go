package bundle

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"fmt"

	"ingot/internal/fault"
)

// Sign signs the manifest with the user's key: RSASSA-PKCS1-v1_5 with SHA-1 over machine_configuration and image,
// as Encode writes them. The version and the bundler are not covered.
func (m *Manifest) Sign(key *rsa.PrivateKey) error {
	m.signed = m.canonical()
	sum := sha1.Sum(m.signed)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA1, sum[:])
	if err != nil {
		return fault.New(fault.Input, fmt.Errorf("signing the bundle's manifest: %w", err), "")
	}
	m.Signature = hex.EncodeToString(signature)
	return nil
}

// Unsigned tells whether the manifest carries no signature. euca2ools without a key writes the word UNSIGNED.
func (m *Manifest) Unsigned() bool { return m.Signature == "" || m.Signature == "UNSIGNED" }

// Verify checks the manifest's signature by the user's public key. It may hold for the document as it was read,
// which is what euca2ools signs, or for the same values as ec2-ami-tools would write them, which is what
// ec2-ami-tools checks, and what survives pretty-printing.
func (m *Manifest) Verify(signer *rsa.PublicKey) error {
	if m.Unsigned() {
		return fault.Newf(fault.Trust, "verifying the bundle's manifest: it is not signed")
	}
	signature, err := hex.DecodeString(m.Signature)
	if err != nil {
		return fault.Newf(fault.Trust, "verifying the bundle's manifest: its signature is not hexadecimal")
	}
	for _, text := range [][]byte{m.signed, m.canonical()} {
		sum := sha1.Sum(text)
		if rsa.VerifyPKCS1v15(signer, crypto.SHA1, sum[:], signature) == nil {
			return nil
		}
		if bytes.Equal(text, m.canonical()) {
			break
		}
	}
	return fault.New(fault.Trust, fmt.Errorf("verifying the bundle's manifest: its signature does not match its content and the given key"),
		"the manifest was changed after it was signed, or somebody else has signed it")
}
