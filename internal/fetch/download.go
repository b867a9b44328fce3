package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"ingot/internal/fault"
)

// download takes what is missing of a part from one mirror and verifies the whole.
func (c *Client) download(ctx context.Context, m mirror, p *part) error {
	resumed := p.n > 0
	if p.n < p.file.Size || !resumed {
		if err := c.append(ctx, m, p); err != nil {
			return err
		}
	}
	if p.verified() {
		return nil
	}
	if err := p.reset(); err != nil {
		return err
	}
	if resumed { // the start may be another mirror's, or an older file's: this mirror gets to give all of it
		return c.download(ctx, m, p)
	}
	return &failure{kind: fault.Trust, err: errors.New("lying mirror: the content has another SHA-256 than the signed index says")}
}

// append writes what the mirror sends behind what the part holds, up to the file's size.
func (c *Client) append(ctx context.Context, m mirror, p *part) error {
	b, err := c.open(ctx, m, p.n, nil)
	if err != nil {
		return err
	}
	defer b.close()
	if b.size >= 0 && b.size != p.file.Size {
		return &failure{kind: fault.Trust, err: fmt.Errorf("lying mirror: the file has %d bytes, the signed index says %d", b.size, p.file.Size)}
	}
	if b.start == 0 && p.n > 0 {
		if err := p.reset(); err != nil {
			return err
		}
	}
	src := &source{r: io.LimitReader(&whileWanted{ctx, b}, p.file.Size-p.n)}
	_, err = io.CopyBuffer(p, src, make([]byte, 128<<10))
	switch {
	case src.err != nil:
		return lost(fmt.Errorf("after %d of %d bytes: %w", p.n, p.file.Size, src.err))
	case err != nil:
		return err // of writing
	case p.n < p.file.Size:
		return lost(fmt.Errorf("the answer ended after %d of %d bytes", p.n, p.file.Size))
	}
	return nil
}

// source tells errors of reading from those of writing.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
