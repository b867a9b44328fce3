package rpm

import (
	"crypto"
	"crypto/dsa" //nolint:staticcheck // what CentOS 5 and older were signed with
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// signature is an OpenPGP signature packet of version 3 (RFC 4880, 5.2.2), which the signing tools of
// CentOS 6 wrote, or of version 4 (5.2.3), over binary data.
type signature struct {
	version   int
	algorithm byte // of the key
	hash      crypto.Hash
	created   time.Time
	expires   time.Time // zero for never
	keyID     uint64
	tail      []byte // hashed behind the data
	left      [2]byte
	numbers   []*big.Int
}

// Public-key algorithms of RFC 9580, 9.1.
const (
	algorithmRSA     = 1
	algorithmRSASign = 3
	algorithmDSA     = 17
)

// maxSignaturePacket bounds a packet, in bytes; one by an RSA key of 16,384 bits has 2,100.
const maxSignaturePacket = 16 << 10

// parseSignature reads the one packet that data must hold.
func parseSignature(data []byte) (*signature, error) {
	body, err := packetBody(data)
	if err != nil {
		return nil, err
	}
	c := cursor{rest: body}
	s := &signature{version: int(c.byte())}
	var kind, hash byte
	switch s.version {
	case 3:
		if n := c.byte(); n != 5 && c.err == nil {
			return nil, fmt.Errorf("a version 3 signature that hashes %d bytes of its own", n)
		}
		s.tail = c.take(5)
		if c.err == nil {
			kind, s.created = s.tail[0], time.Unix(int64(binary.BigEndian.Uint32(s.tail[1:])), 0)
		}
		s.keyID, s.algorithm, hash = binary.BigEndian.Uint64(c.padded(8)), c.byte(), c.byte()
	case 4:
		kind, s.algorithm, hash = c.byte(), c.byte(), c.byte()
		hashed := c.take(int(c.uint16()))
		length := len(body) - len(c.rest)
		unhashed := c.take(int(c.uint16()))
		if c.err != nil {
			return nil, c.err
		}
		s.tail = append(append([]byte{}, body[:length]...), 4, 0xff)
		s.tail = binary.BigEndian.AppendUint32(s.tail, uint32(length)) //nolint:gosec // bounded by maxSignaturePacket
		if err := s.subpackets(hashed, true); err != nil {
			return nil, err
		}
		if err := s.subpackets(unhashed, false); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("version %d of a signature is not supported", s.version)
	}
	s.left = [2]byte(c.padded(2))
	for len(c.rest) > 0 && c.err == nil {
		bits := int(c.uint16())
		s.numbers = append(s.numbers, new(big.Int).SetBytes(c.take((bits+7)/8)))
	}
	switch {
	case c.err != nil:
		return nil, c.err
	case kind != 0:
		return nil, fmt.Errorf("type %#x is no signature of a file", kind)
	case s.created.IsZero():
		return nil, errors.New("it does not say when it was made")
	case s.keyID == 0:
		return nil, errors.New("it does not name its key")
	}
	if s.hash, err = hashOf(uint64(hash)); err != nil {
		return nil, err
	}
	return s, nil
}

// packetBody takes the frame off a signature packet (RFC 9580, 4.2).
func packetBody(data []byte) ([]byte, error) {
	if len(data) > maxSignaturePacket {
		return nil, fmt.Errorf("%d bytes are too many", len(data))
	}
	c := cursor{rest: data}
	head := c.byte()
	var tag byte
	var length int
	if head&0x40 != 0 {
		tag = head & 0x3f
		switch n := int(c.byte()); {
		case n < 192:
			length = n
		case n < 224:
			length = (n-192)<<8 + int(c.byte()) + 192
		case n == 255:
			length = int(binary.BigEndian.Uint32(c.padded(4)))
		default:
			return nil, errors.New("a signature packet in parts")
		}
	} else {
		tag = head >> 2 & 0xf
		switch head & 3 {
		case 0:
			length = int(c.byte())
		case 1:
			length = int(c.uint16())
		case 2:
			length = int(binary.BigEndian.Uint32(c.padded(4)))
		default:
			return nil, errors.New("a signature packet without length")
		}
	}
	switch {
	case c.err != nil:
		return nil, c.err
	case head&0x80 == 0 || tag != 2:
		return nil, errors.New("it is no OpenPGP signature")
	case length != len(c.rest):
		return nil, fmt.Errorf("a packet of %d bytes where there are %d", length, len(c.rest))
	}
	return c.rest, nil
}

// Types of subpackets (RFC 9580, 5.2.3.7).
const (
	subCreated     = 2
	subExpires     = 3
	subIssuer      = 16
	subFingerprint = 33
)

func (s *signature) subpackets(data []byte, hashed bool) error {
	c := cursor{rest: data}
	for len(c.rest) > 0 {
		length := int(c.byte())
		switch {
		case length == 255:
			length = int(binary.BigEndian.Uint32(c.padded(4)))
		case length >= 192:
			length = (length-192)<<8 + int(c.byte()) + 192
		}
		body := c.take(length)
		if c.err != nil {
			return c.err
		}
		if len(body) == 0 {
			return errors.New("an empty subpacket")
		}
		kind, critical := body[0]&0x7f, body[0]&0x80 != 0
		switch body = body[1:]; {
		case kind == subCreated && hashed && len(body) == 4:
			s.created = time.Unix(int64(binary.BigEndian.Uint32(body)), 0)
		case kind == subExpires && hashed && len(body) == 4:
			if n := binary.BigEndian.Uint32(body); n > 0 {
				s.expires = time.Unix(int64(n), 0) // since s.created, which may come later
			}
		case kind == subIssuer && len(body) == 8:
			s.keyID = binary.BigEndian.Uint64(body)
		case kind == subFingerprint && len(body) == 21 && body[0] == 4:
			s.keyID = binary.BigEndian.Uint64(body[13:])
		case critical && hashed:
			return fmt.Errorf("subpacket %d is critical and not known", kind)
		}
	}
	if hashed && !s.expires.IsZero() {
		s.expires = s.created.Add(time.Duration(s.expires.Unix()) * time.Second)
	}
	return nil
}

// fits reports whether a key made the signature over data with a digest, which includes the tail.
func (s *signature) fits(key any, digest []byte) error {
	if digest[0] != s.left[0] || digest[1] != s.left[1] {
		return errors.New("it does not fit the data")
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		if s.algorithm != algorithmRSA && s.algorithm != algorithmRSASign || len(s.numbers) != 1 {
			break
		}
		if s.numbers[0].BitLen() > k.N.BitLen() {
			return errors.New("it does not fit the key")
		}
		if err := rsa.VerifyPKCS1v15(k, s.hash, digest, s.numbers[0].FillBytes(make([]byte, k.Size()))); err != nil {
			return fmt.Errorf("it does not fit the data (%w)", err)
		}
		return nil
	case *dsa.PublicKey:
		if s.algorithm != algorithmDSA || len(s.numbers) != 2 {
			break
		}
		if n := (k.Q.BitLen() + 7) / 8; len(digest) > n {
			digest = digest[:n]
		}
		if !dsa.Verify(k, digest, s.numbers[0], s.numbers[1]) {
			return errors.New("it does not fit the data")
		}
		return nil
	}
	return fmt.Errorf("public-key algorithm %d is not that of the key, or not supported", s.algorithm)
}

// cursor reads from front to back and keeps the first error.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) take(n int) []byte {
	if n > len(c.rest) {
		c.rest, c.err = nil, errors.New("it is cut off")
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

// padded is take for numbers: n zeros where there are not enough bytes.
func (c *cursor) padded(n int) []byte {
	if b := c.take(n); b != nil {
		return b
	}
	return make([]byte, n)
}

func (c *cursor) byte() byte     { return c.padded(1)[0] }
func (c *cursor) uint16() uint16 { return binary.BigEndian.Uint16(c.padded(2)) }
