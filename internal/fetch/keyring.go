package fetch

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"ingot/internal/fault"
)

// maxKeys bounds a file of keys, in bytes. Debian's keyring of all its developers has 33 MB.
const maxKeys = 64 << 20

// Keyring is a set of OpenPGP certificates (RFC 9580) that signatures are verified against.
type Keyring struct{ keys openpgp.EntityList }

// ReadKeys reads certificates from files, each of them binary (as `gpg --export` writes it, also several of
// them one after another) or armored (also several blocks). A certificate that comes twice is merged, so
// that the revocation in one file counts against the copy in another.
func ReadKeys(armoredOrBinary ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	for i, data := range armoredOrBinary {
		if len(data) > maxKeys {
			return nil, fault.Newf(fault.Input, "reading keys: file %d is larger than %d MiB", i+1, maxKeys>>20)
		}
		keys, err := readKeys(data)
		if err != nil {
			return nil, fault.New(fault.Input, fmt.Errorf("reading keys: file %d: %w", i+1, err),
				"a file of keys is what `gpg --export` or `gpg --export --armor` writes")
		}
		for _, key := range keys {
			k.add(key)
		}
	}
	if len(k.keys) == 0 {
		return nil, fault.Newf(fault.Input, "reading keys: there are none")
	}
	return k, nil
}

func readKeys(data []byte) (openpgp.EntityList, error) {
	begin := []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")
	if !bytes.Contains(data, begin) {
		return readBinaryKeys(bytes.NewReader(data))
	}
	var all openpgp.EntityList
	var skipped error // as ReadKeyRing skips binary certificates that it cannot read
	for _, block := range bytes.Split(data, begin)[1:] {
		plain, err := armor.Decode(bytes.NewReader(append(bytes.Clone(begin), block...)))
		if err != nil {
			return nil, err
		}
		keys, err := readBinaryKeys(plain.Body)
		var malformed pgperrors.StructuralError
		var unsupported pgperrors.UnsupportedError
		switch {
		case errors.As(err, &malformed), errors.As(err, &unsupported):
			skipped = err
		case err != nil:
			return nil, err
		}
		all = append(all, keys...)
	}
	if all == nil {
		return nil, skipped
	}
	return all, nil
}

// readBinaryKeys leaves certifications (of photographs, as old keys have them) out that stand behind a subkey,
// where they mean nothing: for the sake of one of them, ReadKeyRing would skip the whole certificate.
func readBinaryKeys(r io.Reader) (openpgp.EntityList, error) {
	const signature, subkey = 2, 14 // packet types
	var kept bytes.Buffer
	packets := packet.NewOpaqueReader(r)
	for last := uint8(0); ; {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if p.Tag != signature {
			last = p.Tag
		} else if last == subkey && len(p.Contents) > 1 && p.Contents[0] >= 4 && p.Contents[1]&^3 == byte(packet.SigTypeGenericCert) {
			continue
		}
		if err := p.Serialize(&kept); err != nil {
			return nil, err
		}
	}
	return openpgp.ReadKeyRing(&kept)
}

// add puts a certificate into the ring. Of two copies the one with the newer self-signature counts, as it
// says until when the key is valid, with the revocations of both.
func (k *Keyring) add(e *openpgp.Entity) {
	i := slices.IndexFunc(k.keys, func(o *openpgp.Entity) bool {
		return bytes.Equal(o.PrimaryKey.Fingerprint, e.PrimaryKey.Fingerprint)
	})
	if i < 0 {
		k.keys = append(k.keys, e)
		return
	}
	old := k.keys[i]
	if updated(old).After(updated(e)) {
		old, e = e, old
	}
	e.Revocations = append(e.Revocations, old.Revocations...)
	for j := range e.Subkeys {
		for _, s := range old.Subkeys {
			if bytes.Equal(s.PublicKey.Fingerprint, e.Subkeys[j].PublicKey.Fingerprint) {
				e.Subkeys[j].Revocations = append(e.Subkeys[j].Revocations, s.Revocations...)
			}
		}
	}
	for name, identity := range e.Identities {
		if other := old.Identities[name]; other != nil {
			identity.Signatures = append(identity.Signatures, other.Signatures...)
			identity.Revocations = append(identity.Revocations, other.Revocations...)
		}
	}
	k.keys[i] = e
}

// updated returns the date of a certificate's newest self-signature.
func updated(e *openpgp.Entity) (t time.Time) {
	if sig, _ := e.PrimarySelfSignature(); sig != nil {
		t = sig.CreationTime
	}
	for _, s := range e.Subkeys {
		if s.Sig.CreationTime.After(t) {
			t = s.Sig.CreationTime
		}
	}
	return t
}

// Restrict returns a ring of those certificates alone that the fingerprints (of primary keys, in
// hexadecimal, spaces allowed) name. Short key ids are refused, as they can be forged.
func (k *Keyring) Restrict(fingerprints []string) (*Keyring, error) {
	out := &Keyring{}
	for _, given := range fingerprints {
		want, err := hex.DecodeString(strings.TrimPrefix(strings.ReplaceAll(given, " ", ""), "0x"))
		if err != nil || len(want) != 20 && len(want) != 32 {
			return nil, fault.New(fault.Input, fmt.Errorf("%q is no OpenPGP fingerprint", given),
				"a fingerprint has 40 hexadecimal digits (64 for a version 6 key); `gpg --show-keys FILE` prints it")
		}
		found, err := k.find(want)
		if err != nil {
			return nil, fault.New(fault.Trust, fmt.Errorf("looking for the key %s: %w", given, err),
				"add the file that holds it to the keys, or correct the fingerprint")
		}
		out.add(found)
	}
	if len(out.keys) == 0 {
		return nil, fault.Newf(fault.Input, "no fingerprint of a trusted key is given")
	}
	return out, nil
}

func (k *Keyring) find(fingerprint []byte) (*openpgp.Entity, error) {
	for _, e := range k.keys {
		if bytes.Equal(e.PrimaryKey.Fingerprint, fingerprint) {
			return e, nil
		}
		for _, s := range e.Subkeys {
			if bytes.Equal(s.PublicKey.Fingerprint, fingerprint) {
				return nil, fmt.Errorf("it is a subkey; its primary key is %X", e.PrimaryKey.Fingerprint)
			}
		}
	}
	return nil, errors.New("the files of keys do not have it")
}
