package fetch

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"ingot/internal/fault"
)

// Web is a web of trust of depth one, as distributions with many packagers keep it (archlinux-keyring,
// pacman-key(8)): masters, whom the user trusts, certify the identities of packagers. What a master signs is
// good; so is what a packager signs, of whose identities at least one has been certified by Needed masters.
// These are GnuPG's rules for marginally trusted keys.
type Web struct {
	Needed int // certifications of one identity; GnuPG and pacman ask for 3
	// AtSigning judges expiry at the time that a signature claims to be of, and not at the present time, so that
	// old packages can be verified. A stolen key that has expired is then as good as a valid one.
	AtSigning bool

	keys    *Keyring // of everybody
	masters *Keyring
	revoked map[string]bool // fingerprints that do not count, whatever the certificates say
}

// NewWeb returns the web that masters, given by their fingerprints, make of a ring. The keys whose
// fingerprints are revoked (a keyring package's list of them) count for nothing, masters or not. A master
// that the ring lacks is an error of kind Trust.
func NewWeb(k *Keyring, masters, revoked []string) (*Web, error) {
	m, err := k.Restrict(masters)
	if err != nil {
		return nil, err
	}
	w := &Web{Needed: 3, keys: k, masters: m, revoked: make(map[string]bool)}
	for _, f := range revoked {
		w.revoked[strings.ToUpper(strings.ReplaceAll(f, " ", ""))] = true
	}
	return w, nil
}

// VerifyDetached verifies data, read once to its end, against a detached signature file, as
// [Keyring.VerifyDetached] does, and asks for a signature by a key that the web makes valid. The error, of
// kind Trust, says of each signature what is wrong with it or how many certifications its key lacks.
func (w *Web) VerifyDetached(data io.Reader, sig []byte, now time.Time) ([]Signature, error) {
	when := always(now)
	if w.AtSigning {
		when = func(s *packet.Signature) time.Time { return w.signing(*s.IssuerKeyId, s.CreationTime, now) }
	}
	all, err := w.keys.verifyDetached(data, sig, when)
	if err != nil {
		return nil, err
	}
	var good []Signature
	var why []string
	for _, s := range all {
		at := now
		if w.AtSigning {
			at = w.signing(w.key(s).PrimaryKey.KeyId, s.Time, now)
		}
		if err := w.valid(s, now, at); err != nil {
			why = append(why, fmt.Sprintf("signature by %s: %v", s.Fingerprint, err))
			continue
		}
		good = append(good, s)
	}
	if good == nil {
		return nil, fault.New(fault.Trust, errors.New(strings.Join(why, "; ")),
			"a newer keyring may know more certifications; check where it comes from")
	}
	return good, nil
}

// signing returns the time to judge a signature at that claims to be of a time: that one, or if the key was
// renewed since, the time of its newest self-signature, as the earlier ones are not kept.
func (w *Web) signing(key uint64, claimed, now time.Time) time.Time {
	at := claimed
	for _, k := range w.keys.keys.KeysById(key) {
		if renewed := updated(k.Entity); renewed.After(at) {
			at = renewed
		}
	}
	if at.After(now) {
		return now // to be refused as one from the future
	}
	return at
}

// valid says why the key of a signature does not count, nil if it does. Revocations count from the present
// time, expiry at the time at.
func (w *Web) valid(s Signature, now, at time.Time) error {
	key := w.key(s)
	if err := w.alive(key, now, at); err != nil {
		return err
	}
	for _, sub := range key.Subkeys {
		if fmt.Sprintf("%X", sub.PublicKey.Fingerprint) == s.Signer && sub.Revoked(now) {
			return errors.New("the subkey was revoked")
		}
	}
	if slices.Contains(w.masters.keys, key) {
		return nil
	}
	most := 0
	for _, id := range key.Identities {
		if id.SelfSignature != nil && !id.Revoked(now) && !expired(id.SelfSignature, at) {
			most = max(most, w.certifications(key, id, now, at))
		}
	}
	if most < w.Needed {
		return fmt.Errorf("the key is certified by %d of the %d trusted masters, %d are needed", most, len(w.masters.keys), w.Needed)
	}
	return nil
}

// key returns the certificate of a signature that was verified against the ring.
func (w *Web) key(s Signature) *openpgp.Entity {
	return w.keys.keys[slices.IndexFunc(w.keys.keys, func(e *openpgp.Entity) bool { return fingerprintOf(e) == s.Fingerprint })]
}

// alive says why a key is of no use, nil if it is of some.
func (w *Web) alive(key *openpgp.Entity, now, at time.Time) error {
	self, _ := key.PrimarySelfSignature()
	switch {
	case w.revoked[fingerprintOf(key)]:
		return errors.New("the key is on the keyring's list of revoked ones")
	case key.Revoked(now):
		return errors.New("the key was revoked")
	case self == nil:
		return errors.New("the key has no valid self-signature")
	case key.PrimaryKey.KeyExpired(self, at):
		return errors.New("the key has expired")
	}
	return nil
}

// certifications counts the masters who certify an identity of a key: whose last word on it is a
// certification that has not expired, and no revocation.
func (w *Web) certifications(key *openpgp.Entity, id *openpgp.Identity, now, at time.Time) (n int) {
	for _, master := range w.masters.keys {
		if w.alive(master, now, at) != nil {
			continue
		}
		var last *packet.Signature
		for _, s := range id.Signatures {
			if !s.CheckKeyIdOrFingerprint(master.PrimaryKey) || s.CreationTime.After(now) || !certifies(s) ||
				last != nil && (s.CreationTime.Before(last.CreationTime) || s.CreationTime.Equal(last.CreationTime) && !revokes(s)) {
				continue
			}
			if master.PrimaryKey.VerifyUserIdSignature(id.UserId.Id, key.PrimaryKey, s) == nil {
				last = s
			}
		}
		if last != nil && !revokes(last) && !expired(last, at) {
			n++
		}
	}
	return n
}

// sha1Until is the day up to which GnuPG counts certifications over SHA-1 (since 2.2.18, when collisions had
// become cheap). Keys of old packagers have no others.
var sha1Until = time.Date(2019, 1, 19, 0, 0, 0, 0, time.UTC)

// certifies reports whether the hash of a certification may count.
func certifies(s *packet.Signature) bool {
	return slices.Contains(strong, s.Hash) || s.Hash == crypto.SHA1 && s.CreationTime.Before(sha1Until)
}

// expired reports whether a signature's time is over. It may be younger than what it is to vouch for: keys are
// renewed, and certified after their first use.
func expired(s *packet.Signature, at time.Time) bool {
	if at.Before(s.CreationTime) {
		at = s.CreationTime
	}
	return s.SigExpired(at)
}

func revokes(s *packet.Signature) bool { return s.SigType == packet.SigTypeCertificationRevocation }

func fingerprintOf(e *openpgp.Entity) string { return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint) }
