package transmutetest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Key is an OpenPGP key with its secret part.
type Key struct {
	Fingerprint string // of the primary key, in upper-case hexadecimal

	entity *openpgp.Entity
	signs  time.Time // when it signs; now if zero
}

// Keys are those of a distribution that is built as Arch Linux is: masters certify packagers.
type Keys struct {
	Masters  []*Key // five, of whose certifications three are needed
	Packager *Key   // certified by three masters
	Second   *Key   // certified by all masters
	Marginal *Key   // certified by two masters: what it signs must be refused
	Revoked  *Key   // certified by all masters, and revoked
	Expired  *Key   // certified by all masters; it expired after it had signed
	Stranger *Key   // in no keyring
	EC2      *Key   // of the ec2 repository, which no master knows
}

// newKey makes a key of a past time. A lifetime of zero is for ever.
func newKey(name string, made time.Time, life time.Duration) (*Key, error) {
	email := strings.ToLower(strings.ReplaceAll(name, " ", ".")) + "@example.org"
	c := config(made)
	c.KeyLifetimeSecs = uint32(life / time.Second)
	e, err := openpgp.NewEntity("Transmuted "+name, "", email, c)
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", name, err)
	}
	return &Key{Fingerprint: fmt.Sprintf("%X", e.PrimaryKey.Fingerprint), entity: e}, nil
}

func config(at time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return at }, Algorithm: packet.PubKeyAlgoEdDSA}
}

// newKeys makes the keys of a distribution, all of them older than now.
func newKeys(now time.Time) (*Keys, error) {
	const day = 24 * time.Hour
	k := &Keys{}
	made := now.Add(-400 * day)
	for i := range 5 {
		m, err := newKey(fmt.Sprintf("Master %d", i+1), made, 0)
		if err != nil {
			return nil, err
		}
		k.Masters = append(k.Masters, m)
	}
	for _, p := range []struct {
		to      **Key
		name    string
		masters int
		life    time.Duration
	}{
		{&k.Packager, "Packager", 3, 0}, {&k.Second, "Second", 5, 0}, {&k.Marginal, "Marginal", 2, 0},
		{&k.Revoked, "Revoked", 5, 0}, {&k.Expired, "Expired", 5, 100 * day}, {&k.Stranger, "Stranger", 0, 0}, {&k.EC2, "EC2", 0, 0},
	} {
		key, err := newKey(p.name, made.Add(day), p.life)
		if err != nil {
			return nil, err
		}
		for _, m := range k.Masters[:p.masters] {
			if err := key.entity.SignIdentity(key.identity(), m.entity, config(made.Add(2*day))); err != nil {
				return nil, fmt.Errorf("certifying the key of %s: %w", p.name, err)
			}
		}
		*p.to = key
	}
	k.Expired.signs = made.Add(50 * day)
	k.Revoked.signs = now.Add(-3 * day)
	if err := k.Revoked.entity.RevokeKey(packet.KeyCompromised, "it leaked", config(now.Add(-2*day))); err != nil {
		return nil, fmt.Errorf("revoking a key: %w", err)
	}
	return k, nil
}

func (k *Key) identity() string {
	for name := range k.entity.Identities {
		return name
	}
	return ""
}

// Public returns the certificate, binary.
func (k *Key) Public() ([]byte, error) {
	var b bytes.Buffer
	err := k.entity.Serialize(&b)
	return b.Bytes(), err
}

// Sign returns a detached signature, binary.
func (k *Key) Sign(data io.Reader) ([]byte, error) {
	at := k.signs
	if at.IsZero() {
		at = time.Now()
	}
	signer := *k.entity
	signer.Revocations = nil // the library would not let a revoked key sign, which its thief does
	var b bytes.Buffer
	err := openpgp.DetachSign(&b, &signer, data, config(at))
	return b.Bytes(), err
}

// ring are the certificates that the distribution's keyring package has.
func (k *Keys) ring() ([]byte, error) {
	var all []byte
	for _, key := range append(append([]*Key{}, k.Masters...), k.Packager, k.Second, k.Marginal, k.Revoked, k.Expired) {
		public, err := key.Public()
		if err != nil {
			return nil, err
		}
		all = append(all, public...)
	}
	return all, nil
}

// trusted lists the masters as pacman-key(8) reads it: FINGERPRINT:4: for marginal trust.
func (k *Keys) trusted() (text string) {
	for _, m := range k.Masters {
		text += m.Fingerprint + ":4:\n"
	}
	return text
}
