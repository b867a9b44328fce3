package fetch

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"ingot/internal/fault"
)

const (
	maxSignatures     = 32      // of one message; Debian's InRelease has three at most
	maxSignatureBytes = 1 << 20 // of all of them together
)

// strong lists the hashes that a signature of a message may use. SHA-1 and MD5 can be made to collide.
var strong = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA224, crypto.SHA3_256, crypto.SHA3_512}

// Signature is a good one.
type Signature struct {
	Fingerprint string    // of the primary key, in upper-case hexadecimal
	Signer      string    // of the key that signed: a subkey, or the primary key itself
	Time        time.Time // when it was made, as the signer says
}

// VerifyClearsigned verifies a clearsigned message (RFC 9580, section 7), an InRelease for one, and returns
// what was signed, with unix line ends. Text before or after the message is refused: a reader that missed
// the borders would take it for signed.
//
// At least one signature must be by a key of the ring that is valid at the time now, over a hash that is not
// broken; the others are left out of the answer. Otherwise the error, of kind Trust, says which keys
// signed and why each does not count.
func (k *Keyring) VerifyClearsigned(data []byte, now time.Time) (plain []byte, sigs []Signature, err error) {
	block, rest := clearsign.Decode(data)
	switch {
	case block == nil:
		return nil, nil, fault.Newf(fault.Trust, "it is not a clearsigned message")
	case !bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----")), len(bytes.TrimSpace(rest)) > 0:
		return nil, nil, fault.Newf(fault.Trust, "there is unsigned text around the signed message")
	}
	raw, err := io.ReadAll(io.LimitReader(block.ArmoredSignature.Body, maxSignatureBytes+1))
	if err != nil {
		return nil, nil, fault.Newf(fault.Trust, "its signature is damaged: %w", err)
	}
	sigs, err = k.verify(bytes.NewReader(block.Bytes), raw, always(now))
	if err != nil {
		return nil, nil, err
	}
	return append(block.Plaintext, '\n'), sigs, nil
}

// VerifyDetached verifies data, read once to its end, against a detached signature file, binary or armored.
// What counts, and what the error says, is as for VerifyClearsigned.
func (k *Keyring) VerifyDetached(data io.Reader, sig []byte, now time.Time) ([]Signature, error) {
	return k.verifyDetached(data, sig, always(now))
}

// clock says at which time a signature is judged.
type clock func(*packet.Signature) time.Time

func always(now time.Time) clock { return func(*packet.Signature) time.Time { return now } }

func (k *Keyring) verifyDetached(data io.Reader, sig []byte, when clock) ([]Signature, error) {
	if len(sig) > maxSignatureBytes {
		return nil, fault.Newf(fault.Trust, "the signature is larger than %d bytes", maxSignatureBytes)
	}
	if bytes.HasPrefix(bytes.TrimSpace(sig), []byte("-----BEGIN PGP SIGNATURE-----")) {
		block, err := armor.Decode(bytes.NewReader(sig))
		if err != nil {
			return nil, fault.Newf(fault.Trust, "the signature is damaged: %w", err)
		}
		if sig, err = io.ReadAll(block.Body); err != nil {
			return nil, fault.Newf(fault.Trust, "the signature is damaged: %w", err)
		}
	}
	return k.verify(data, sig, when)
}

// check is one signature packet on its way to a verdict.
type check struct {
	packet []byte
	sig    *packet.Signature
	by     string // the key it names
	err    error
	good   Signature
}

func (k *Keyring) verify(data io.Reader, raw []byte, when clock) ([]Signature, error) {
	checks, err := k.parse(raw)
	if err != nil {
		return nil, fault.Newf(fault.Trust, "its signature is damaged: %w", err)
	}
	// Each signature may hash the data in its own way, and the data can be read only once.
	var writers []io.Writer
	var pipes []*io.PipeWriter
	done := make(chan struct{})
	for i := range checks {
		c := &checks[i]
		if c.err != nil {
			continue
		}
		r, w := io.Pipe()
		writers, pipes = append(writers, w), append(pipes, w)
		go func() {
			k.judge(c, r, when(c.sig))
			_, _ = io.Copy(io.Discard, r) // of an early verdict, so that the others get all data
			done <- struct{}{}
		}()
	}
	_, err = io.Copy(io.MultiWriter(writers...), data)
	for _, w := range pipes {
		w.CloseWithError(err) // nil is io.EOF
	}
	for range pipes {
		<-done
	}
	if err != nil {
		return nil, err
	}
	return verdict(checks)
}

// parse splits a signature file into its packets and leaves an error with those that cannot count.
func (k *Keyring) parse(raw []byte) ([]check, error) {
	var checks []check
	packets := packet.NewOpaqueReader(bytes.NewReader(raw))
	for {
		op, err := packets.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(checks) == maxSignatures {
			return nil, fmt.Errorf("it holds more than %d packets", maxSignatures)
		}
		var b bytes.Buffer
		if err := op.Serialize(&b); err != nil {
			return nil, err
		}
		c := check{packet: b.Bytes(), by: "an unknown key"}
		if p, err := op.Parse(); err != nil {
			c.err = err
		} else if sig, ok := p.(*packet.Signature); !ok {
			c.err = fmt.Errorf("packet of type %d is no signature", op.Tag)
		} else {
			c.sig, c.err = sig, k.acceptable(sig)
			if len(sig.IssuerFingerprint) > 0 {
				c.by = fmt.Sprintf("%X", sig.IssuerFingerprint)
			} else if sig.IssuerKeyId != nil {
				c.by = fmt.Sprintf("%016X", *sig.IssuerKeyId)
			}
		}
		checks = append(checks, c)
	}
	if len(checks) == 0 {
		return nil, errors.New("it is empty")
	}
	return checks, nil
}

// acceptable judges what can be judged without the data.
func (k *Keyring) acceptable(sig *packet.Signature) error {
	switch {
	case sig.IssuerKeyId == nil:
		return errors.New("it does not name its key")
	case len(k.keys.KeysById(*sig.IssuerKeyId)) == 0:
		return errors.New("the key is not among the trusted ones")
	case !slices.Contains(strong, sig.Hash):
		return fmt.Errorf("it uses %s, which is broken", sig.Hash)
	}
	return nil
}

func (k *Keyring) judge(c *check, data io.Reader, now time.Time) {
	config := &packet.Config{Time: func() time.Time { return now }}
	sig, signer, err := openpgp.VerifyDetachedSignature(k.keys, data, bytes.NewReader(c.packet), config)
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		c.err = errors.New("the key may not be used for signing") // it is in the ring, or we would not be here
	case errors.Is(err, pgperrors.ErrKeyExpired):
		c.err = errors.New("the key has expired")
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		c.err = fmt.Errorf("it is dated %s and not valid at %s", c.sig.CreationTime.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		c.err = errors.New("the key was revoked")
	case err != nil:
		c.err = fmt.Errorf("it does not fit the data (%w)", err)
	default:
		c.good = Signature{Fingerprint: fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), Time: sig.CreationTime.UTC()}
		for _, key := range k.keys.KeysById(*sig.IssuerKeyId) {
			if key.Entity == signer {
				c.good.Signer = fmt.Sprintf("%X", key.PublicKey.Fingerprint)
			}
		}
	}
}

func verdict(checks []check) (good []Signature, err error) {
	var why []string
	for _, c := range checks {
		if c.err == nil {
			good = append(good, c.good)
		} else {
			why = append(why, fmt.Sprintf("signature by %s: %v", c.by, c.err))
		}
	}
	if len(good) > 0 {
		return good, nil
	}
	return nil, fault.New(fault.Trust, errors.New(strings.Join(why, "; ")),
		"if a trusted key has changed, add its fingerprint and file to the recipe's keys after checking where it comes from")
}
