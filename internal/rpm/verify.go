package rpm

import (
	"bytes"
	"context"
	"crypto"
	_ "crypto/md5"  //nolint:gosec // as a check for damage, never for trust
	_ "crypto/sha1" //nolint:gosec // where the policy allows it
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"ingot/internal/fault"
	"ingot/internal/fetch"
)

// Policy says which signatures count.
type Policy struct {
	Keys *fetch.Keyring
	// SHA1 is the reason for which signatures over SHA-1 count, as the recipe states it; they do not where it
	// is empty. SHA-1 can be made to collide, and most packages of CentOS 6 are signed over it.
	SHA1 string
	// Expired is the reason for which signatures count whose key was valid when it signed and has expired since; they do
	// not where it is empty. Who gets hold of such a key later can sign with any date.
	Expired string
	Now     time.Time // zero for the clock's
}

// Signature is a good one.
type Signature struct {
	Certificate string // fingerprint of the primary key, in upper-case hexadecimal
	Signer      string // fingerprint of the key that signed: a subkey, or the primary key itself
	Time        time.Time
	Version     int // of the packet: 3 or 4
	Hash        crypto.Hash
	HeaderOnly  bool // it covers the header; the header's digests cover the payload
}

// check is one signature of a package on its way to a verdict.
type check struct {
	*signature
	signers    []fetch.Signer
	headerOnly bool
	sum        hash.Hash
}

// Verify reads a package file to its end and says who signed it. It returns the package with its good
// signatures: at least one, by a key of the policy's ring that was valid when it signed. Where it has expired since, as
// CentOS 6's has, the policy decides.
//
// A package is refused, with an error of kind fault.Trust that names it, where there is no such signature,
// where a signature by a key of the ring does not fit, or where a digest in it is wrong. A signature covers
// the payload by itself, or by a digest of the payload in the header; older packages whose header alone is
// signed have digests of their files there, which [Payload] checks.
func Verify(ctx context.Context, r io.Reader, policy Policy) (*Package, []Signature, error) {
	sig, h, err := readHeaders(r)
	if err != nil {
		return nil, nil, malformed(err)
	}
	p, err := newPackage(sig, h)
	if err != nil {
		return nil, nil, err
	}
	good, err := p.verify(ctx, r, policy)
	if err != nil {
		var known *fault.Error
		if ctx.Err() != nil || errors.As(err, &known) {
			return nil, nil, fmt.Errorf("verifying package %s: %w", p, err)
		}
		return nil, nil, fault.New(fault.Trust, fmt.Errorf("verifying package %s: %w", p, err),
			"fetch it anew from another mirror; where it is as its maker published it, the recipe's trust decides whether it counts")
	}
	return p, good, nil
}

func (p *Package) verify(ctx context.Context, payload io.Reader, policy Policy) ([]Signature, error) {
	digests, err := p.digests()
	if err != nil {
		return nil, err
	}
	checks, refused, err := p.checks(policy)
	if err != nil {
		return nil, err
	}
	header := append([]byte(headerMagic), p.Header.Blob...)
	var writers []io.Writer
	for _, d := range digests {
		if d.header {
			d.sum.Write(header)
		}
		if d.payload {
			writers = append(writers, d.sum)
		}
	}
	for _, c := range checks {
		c.sum.Write(header)
		if !c.headerOnly {
			writers = append(writers, c.sum)
		}
	}
	if _, err := io.Copy(io.MultiWriter(writers...), contextReader{ctx, payload}); err != nil {
		return nil, fault.New(fault.KindOf(err), fmt.Errorf("reading its payload: %w", err), "")
	}
	for _, d := range digests {
		if got := d.sum.Sum(nil); !bytes.Equal(got, d.want) {
			return nil, fmt.Errorf("its %s is %x, it should be %x", d.name, got, d.want)
		}
	}
	var good []Signature
	for _, c := range checks {
		one, err := c.judge(policy)
		if err != nil {
			return nil, fmt.Errorf("signature by key %016X: %w", c.keyID, err)
		}
		good = append(good, one)
	}
	switch {
	case len(good) > 0:
		return good, nil
	case len(refused) > 0:
		return nil, errors.New(strings.Join(refused, "; "))
	}
	return nil, errors.New("it is not signed")
}

// judge says whether a key fits that was valid when it signed.
func (c *check) judge(policy Policy) (Signature, error) {
	c.sum.Write(c.tail)
	digest := c.sum.Sum(nil)
	now := policy.Now
	if now.IsZero() {
		now = time.Now()
	}
	if !c.expires.IsZero() && now.After(c.expires) {
		return Signature{}, fmt.Errorf("it expired on %s", c.expires.UTC().Format(time.RFC3339))
	}
	var last error
	for _, s := range c.signers {
		if last = c.fits(s.Key, digest); last != nil {
			continue
		}
		if last = s.ValidAt(c.created); last != nil {
			continue
		}
		if s.ExpiredAt(now) && policy.Expired == "" {
			last = fmt.Errorf("key %s has expired since, and the recipe does not allow expired keys", s.Fingerprint)
			continue
		}
		return Signature{Certificate: s.Certificate, Signer: s.Fingerprint, Time: c.created.UTC(), Version: c.version,
			Hash: c.hash, HeaderOnly: c.headerOnly}, nil
	}
	return Signature{}, last
}

// checks returns the signatures that can count, and for the others why they cannot.
func (p *Package) checks(policy Policy) (checks []*check, refused []string, err error) {
	for _, where := range []struct {
		tag        Tag
		headerOnly bool
	}{{sigRSA, true}, {sigDSA, true}, {sigPGP, false}, {sigGPG, false}} {
		data, err := p.Signature.Bytes(where.tag)
		if err != nil {
			return nil, nil, fmt.Errorf("reading its signature: %w", err)
		}
		if data == nil {
			continue
		}
		s, err := parseSignature(data)
		if err != nil {
			return nil, nil, fmt.Errorf("reading its signature: %w", err)
		}
		c := &check{signature: s, headerOnly: where.headerOnly, sum: s.hash.New()}
		refuse := func(why string) { refused = append(refused, fmt.Sprintf("signature by key %016X: %s", s.keyID, why)) }
		if policy.Keys != nil {
			c.signers = policy.Keys.Signers(s.keyID)
		}
		switch {
		case len(c.signers) == 0:
			refuse("the key is not among the trusted ones")
		case s.hash == crypto.MD5:
			refuse("it uses MD5, which is broken")
		case s.hash == crypto.SHA1 && policy.SHA1 == "":
			refuse("it uses SHA-1, which the recipe does not allow")
		default:
			checks = append(checks, c)
		}
	}
	if p.Signature.Has(sigOpenPGP) && len(checks) == 0 && len(refused) == 0 {
		refused = append(refused, "it is signed in the way of rpm 6, which is not supported")
	}
	return checks, refused, nil
}

// digest is a checksum that a package carries of itself. It finds damage; trust comes from signatures alone.
type digest struct {
	name            string
	want            []byte
	sum             hash.Hash
	header, payload bool // what it covers
}

func (p *Package) digests() ([]digest, error) {
	var all []digest
	for _, d := range []struct {
		tag  Tag
		name string
		hash crypto.Hash
	}{{sigSHA1, "header's SHA-1", crypto.SHA1}, {sigSHA256, "header's SHA-256", crypto.SHA256}} {
		if text, err := p.Signature.Strings(d.tag); err != nil {
			return nil, err
		} else if len(text) > 0 {
			want, err := hex.DecodeString(text[0])
			if err != nil {
				return nil, fmt.Errorf("its %s is %.80q, no digest", d.name, text[0])
			}
			all = append(all, digest{name: d.name, want: want, sum: d.hash.New(), header: true})
		}
	}
	if want, err := p.Signature.Bytes(sigMD5); err != nil {
		return nil, err
	} else if want != nil {
		all = append(all, digest{name: "MD5", want: want, sum: crypto.MD5.New(), header: true, payload: true})
	}
	d := decoder{h: p.Header}
	texts, algorithm := d.strings(TagPayloadDigest), d.number(TagPayloadDigestAlgo)
	if d.err != nil || len(texts) == 0 {
		return all, d.err
	}
	h, err := hashOf(algorithm)
	if err != nil {
		return nil, fmt.Errorf("digest of its payload: %w", err)
	}
	want, err := hex.DecodeString(texts[0])
	if err != nil {
		return nil, fmt.Errorf("digest of its payload: %.80q is none", texts[0])
	}
	return append(all, digest{name: "payload's digest", want: want, sum: h.New(), payload: true}), nil
}

// contextReader ends when the context does.
type contextReader struct {
	ctx context.Context //nolint:containedctx // lives no longer than the call that made it
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
