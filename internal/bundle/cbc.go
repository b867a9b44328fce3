package bundle

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"io"
)

// encrypter writes AES-128-CBC with PKCS#7 padding, which Close appends (RFC 5652 section 6.3; what
// `openssl enc -aes-128-cbc -K -iv` writes).
type encrypter struct {
	w    io.Writer
	mode cipher.BlockMode
	rest []byte // less than a block that waits for more
	buf  []byte
}

func (s *Secret) block() cipher.Block {
	b, err := aes.NewCipher(s.Key[:])
	if err != nil {
		panic(err) // of the key's length alone, which its type holds
	}
	return b
}

func newEncrypter(w io.Writer, s *Secret) *encrypter {
	return &encrypter{w: w, mode: cipher.NewCBCEncrypter(s.block(), s.IV[:])}
}

func (e *encrypter) Write(p []byte) (int, error) {
	e.buf = append(append(e.buf[:0], e.rest...), p...)
	whole := len(e.buf) / aes.BlockSize * aes.BlockSize
	e.rest = append(e.rest[:0], e.buf[whole:]...)
	e.mode.CryptBlocks(e.buf[:whole], e.buf[:whole])
	if _, err := e.w.Write(e.buf[:whole]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes the last block. It does not close what it writes to.
func (e *encrypter) Close() error {
	n := aes.BlockSize - len(e.rest)
	_, err := e.Write(bytes.Repeat([]byte{byte(n)}, n))
	return err
}

// decrypter reads what an encrypter has written, without the padding, which it checks at the end.
type decrypter struct {
	r    io.Reader
	mode cipher.BlockMode
	buf  []byte // as read, then decrypted in place
	out  []byte // what of buf is not yet handed out; its last block is held back until another follows
	held int
	err  error
}

func newDecrypter(r io.Reader, s *Secret) *decrypter {
	return &decrypter{r: r, mode: cipher.NewCBCDecrypter(s.block(), s.IV[:]), buf: make([]byte, 64<<10)}
}

func (d *decrypter) Read(p []byte) (int, error) {
	for len(d.out) == 0 && d.err == nil {
		d.fill()
	}
	if len(d.out) == 0 {
		return 0, d.err
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// fill decrypts the next bytes behind the block that was held back, and holds back the last of them.
func (d *decrypter) fill() {
	copy(d.buf, d.buf[len(d.buf)-d.held:])
	n, err := io.ReadFull(d.r, d.buf[d.held:len(d.buf)/2])
	fresh := d.buf[d.held : d.held+n]
	last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case err != nil && !last:
		d.err = err
		return
	case n%aes.BlockSize != 0:
		d.err = errors.New("the encrypted stream is cut short: it does not end with a whole block")
		return
	}
	d.mode.CryptBlocks(fresh, fresh)
	all := d.buf[:d.held+n]
	if last {
		d.out, d.err = unpad(all)
		return
	}
	d.held = aes.BlockSize
	copy(d.buf[len(d.buf)-d.held:], all[len(all)-d.held:])
	d.out = all[:len(all)-d.held]
}

// unpad takes the padding off the last blocks of a stream, and returns io.EOF where it is as it must be.
func unpad(p []byte) ([]byte, error) {
	bad := errors.New("the encrypted stream does not end with padding: the key is not the bundle's, or the stream is cut short")
	if len(p) == 0 {
		return nil, bad
	}
	n := int(p[len(p)-1])
	if n == 0 || n > aes.BlockSize || n > len(p) || !bytes.Equal(p[len(p)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, bad
	}
	return p[:len(p)-n], io.EOF
}
