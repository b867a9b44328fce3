package alpmtest

import (
	"bytes"
	"crypto"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Key signs packages. It was made a day ago.
type Key struct{ entity *openpgp.Entity }

// NewKey makes a throwaway key.
func NewKey() (*Key, error) {
	made := time.Now().AddDate(0, 0, -1)
	e, err := openpgp.NewEntity("test", "", "test@example.org", &packet.Config{
		Time: func() time.Time { return made }, Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512,
	})
	return &Key{e}, err
}

// Fingerprint is the key's, in hexadecimal.
func (k *Key) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// Public returns the public key, not armored.
func (k *Key) Public() ([]byte, error) {
	var b bytes.Buffer
	err := k.entity.Serialize(&b)
	return b.Bytes(), err
}

// Sign returns a detached signature.
func (k *Key) Sign(data []byte) ([]byte, error) {
	var b bytes.Buffer
	err := openpgp.DetachSign(&b, k.entity, bytes.NewReader(data), &packet.Config{DefaultHash: crypto.SHA512})
	return b.Bytes(), err
}
