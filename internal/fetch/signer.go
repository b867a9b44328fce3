package fetch

import (
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// Signer is a key of a ring that signatures may be checked with by those who read signature packets
// themselves: RPM packages carry some that are older than RFC 4880 and that the OpenPGP library refuses.
type Signer struct {
	Certificate string // fingerprint of the primary key, in upper-case hexadecimal
	Fingerprint string // of the key itself: a subkey, or the primary key
	Key         any    // *rsa.PublicKey, *dsa.PublicKey, …
	key         openpgp.Key
}

// Signers returns the keys of the ring that have a key id (the last 8 bytes of the fingerprint). An id can be forged,
// so that there may be several.
func (k *Keyring) Signers(id uint64) []Signer {
	var all []Signer
	for _, key := range k.keys.KeysById(id) {
		all = append(all, Signer{
			Certificate: fmt.Sprintf("%X", key.Entity.PrimaryKey.Fingerprint),
			Fingerprint: fmt.Sprintf("%X", key.PublicKey.Fingerprint),
			Key:         key.PublicKey.PublicKey, key: key,
		})
	}
	return all
}

// ValidAt says why the key could not sign at a time, nil where it could: it, or the primary key above it, did not
// exist yet, had expired, was revoked, or is not for signing.
func (s Signer) ValidAt(t time.Time) error {
	primary := s.key.Entity
	self, _ := primary.PrimarySelfSignature()
	switch {
	case self == nil || s.key.SelfSignature == nil:
		return fmt.Errorf("key %s has no valid self-signature", s.Fingerprint)
	case s.ExpiredAt(t):
		return fmt.Errorf("key %s was not valid on %s", s.Fingerprint, t.UTC().Format(time.RFC3339))
	case primary.Revoked(t), s.key.Revoked(t):
		return fmt.Errorf("key %s was revoked", s.Fingerprint)
	case s.key.SelfSignature.FlagsValid && !s.key.SelfSignature.FlagSign:
		return fmt.Errorf("key %s is not for signing", s.Fingerprint)
	}
	return nil
}

// ExpiredAt reports whether the key, or the primary key above it, has expired by a time at which it did exist.
func (s Signer) ExpiredAt(t time.Time) bool {
	primary := s.key.Entity
	self, _ := primary.PrimarySelfSignature()
	return self == nil || s.key.SelfSignature == nil ||
		primary.PrimaryKey.KeyExpired(self, t) || s.key.PublicKey.KeyExpired(s.key.SelfSignature, t)
}
