package bundle

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// ExtractOptions say how a bundle is opened.
type ExtractOptions struct {
	Key          *rsa.PrivateKey // the user's, or the cloud's
	Signer       *rsa.PublicKey  // whose signature the manifest has to carry; nil is Key's own
	AnySignature bool            // take a manifest that is unsigned, or that was edited after signing: digests alone then tell that the bundle is whole
	MaxSize      int64           // the largest image to write, in bytes; 0 is MaxImageSize
	Replace      bool            // a file that has the image's name; without, it is an error
}

const (
	maxHeaders = 16 << 20 // bytes of tar before the image: the list of extents of a very fragmented one
	slack      = 1 << 20  // bytes of tar behind the image: padding
)

// Extract writes the image of a bundle to the file path. The manifest's signature, every part's digest, all sizes
// and the digest of the whole are verified before the file gets its name; holes stay holes.
func Extract(ctx context.Context, m *Manifest, src Source, path string, o ExtractOptions, task *progress.Task) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("extracting the bundle %s: %w", m.Name, err)
		}
	}()
	if err := o.accept(m); err != nil {
		return err
	}
	secret, err := m.Secret(o.Key)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil && !o.Replace {
		return fault.Newf(fault.Exists, "%s is there already", path)
	}
	// One name for all runs, so that what a killed one leaves is used again.
	partial := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".extracting")
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fault.Newf(fault.Exists, "another run is extracting to %s", path)
	}
	// Its maker may have renamed it between the two calls: then this is a finished image.
	here, err := os.Lstat(partial)
	if mine, e := f.Stat(); err != nil || e != nil || !os.SameFile(here, mine) {
		return fault.Newf(fault.Exists, "another run has just finished %s", path)
	}
	if err = f.Truncate(0); err == nil { // what a killed run left
		err = unpack(ctx, m, src, secret, func(image io.Reader) error { return writeSparse(f, image, m.Size, task) })
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		os.Remove(partial)
	}
	return err
}

// Check verifies a bundle as Extract does, and writes nothing.
func Check(ctx context.Context, m *Manifest, src Source, o ExtractOptions, task *progress.Task) error {
	err := o.accept(m)
	if err == nil {
		var secret *Secret
		if secret, err = m.Secret(o.Key); err == nil {
			err = unpack(ctx, m, src, secret, func(image io.Reader) error {
				if _, err := io.CopyN(task, image, m.Size); err != nil {
					return fault.Newf(fault.Input, "reading the image from the archive: %w", err)
				}
				return nil
			})
		}
	}
	if err != nil {
		return fmt.Errorf("checking the bundle %s: %w", m.Name, err)
	}
	return nil
}

// accept tells whether the bundle may be opened at all.
func (o *ExtractOptions) accept(m *Manifest) error {
	if o.Key == nil {
		return fault.Newf(fault.Usage, "it takes the private key of the user or of the cloud")
	}
	limit := o.MaxSize
	if limit == 0 {
		limit = MaxImageSize
	}
	// Data that does not compress grows by less than a thousandth, and the list of extents is bounded.
	if m.Size > limit || m.BundledSize > m.Size+m.Size/100+maxHeaders+slack {
		return fault.Newf(fault.Input, "its manifest says that the image has %d bytes, and the bundle %d; at most %d are allowed for the image", m.Size, m.BundledSize, limit)
	}
	if o.AnySignature {
		return nil
	}
	signer := o.Signer
	if signer == nil {
		signer = &o.Key.PublicKey
	}
	return m.Verify(signer)
}

// unpack hands the image to write, which reads all of it, and verifies everything but the signature.
func unpack(ctx context.Context, m *Manifest, src Source, secret *Secret, write func(image io.Reader) error) error {
	parts := join(ctx, m, src)
	defer parts.Close()
	if err := decode(m, newDecrypter(parts, secret), write); err != nil {
		return parts.blame(err)
	}
	return nil
}

func decode(m *Manifest, decrypted io.Reader, write func(image io.Reader) error) error {
	plain := newAhead(decrypted)
	zip, err := gzip.NewReader(plain)
	if err != nil {
		plain.Close()
		return fault.Newf(fault.Trust, "decompressing: %w", err)
	}
	unzipped := newAhead(zip)
	defer unzipped.Close()
	defer plain.Close() // first, for the other may be waiting for it
	digest := sha1.New()
	archive := &limited{r: io.TeeReader(unzipped, digest), left: maxHeaders}
	body, err := member(archive, m)
	if err != nil {
		return err
	}
	archive.left = m.Size + slack
	if err := write(body.image); err != nil {
		return err
	}
	if err := body.end(archive); err != nil {
		return err
	}
	// The decrypter has to see its padding, and the parts their digests.
	if n, err := io.Copy(io.Discard, plain); err != nil {
		return err
	} else if n > 0 {
		return fault.Newf(fault.Trust, "%d bytes follow the compressed stream", n)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != m.Digest {
		return fault.Newf(fault.Trust, "the archive has the SHA-1 %s, and %s in the manifest", got, m.Digest)
	}
	return nil
}

// limited reads as far as is allowed, and then fails. How far that is changes as the archive is read.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fault.Newf(fault.Input, "the archive is longer than its image allows for")
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

var zeros [4096]byte

// writeSparse writes size bytes to an empty file. Blocks of zeros become holes.
func writeSparse(f *os.File, r io.Reader, size int64, task *progress.Task) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	buf := make([]byte, 128<<10)
	for at := int64(0); at < size; {
		n := int(min(int64(len(buf)), size-at))
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return fault.Newf(fault.Input, "reading the image from the archive: %w", err)
		}
		for i := 0; i < n; {
			from, data := i, false
			for ; i < n; i += len(zeros) {
				piece := buf[i:min(n, i+len(zeros))]
				if is := !bytes.Equal(piece, zeros[:len(piece)]); i == from {
					data = is
				} else if is != data {
					break
				}
			}
			if data {
				if _, err := f.WriteAt(buf[from:min(i, n)], at+int64(from)); err != nil {
					return err
				}
			}
		}
		at += int64(n)
		task.Add(int64(n))
	}
	return nil
}
