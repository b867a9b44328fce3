package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/rpm"
)

// workers is how many packages with a weak checksum are fetched and verified at once.
const workers = 8

// maxPackage bounds the file of a package, in bytes: what rpm's own format could say before 4.6, and more than any has.
const maxPackage = 4 << 30

// verified is a package whose signature was checked.
type verified struct {
	lock.Package
	info *rpm.Package
}

// verify fetches the chosen packages, checks the signature of each, and that it is the package which the metadata, that may
// be unsigned, describes. They come back in rpm's order.
func (rq *Request) verify(ctx context.Context, c *fetch.Client, chosen []*record, r *progress.Reporter) ([]lock.Package, error) {
	all := make([]verified, len(chosen))
	if err := rq.fetchWeak(ctx, c, chosen, all); err != nil {
		return nil, err
	}
	if err := rq.fetchStrong(ctx, c, chosen, all, r); err != nil {
		return nil, err
	}
	infos := make([]*rpm.Package, len(all))
	of := make(map[*rpm.Package]lock.Package, len(all))
	for i, v := range all {
		infos[i], of[v.info] = v.info, v.Package
	}
	if err := rpm.Check(infos); err != nil {
		return nil, fault.New(fault.Trust, fmt.Errorf("the signed packages say more than the metadata, by which they were chosen: %w", err),
			"the mirror is broken or hostile; use another one")
	}
	ordered, err := rpm.Order(infos)
	if err != nil {
		return nil, err
	}
	out := make([]lock.Package, len(ordered))
	for i, p := range ordered {
		out[i] = of[p]
	}
	return out, nil
}

// fetchWeak fetches and verifies those packages for which the metadata has no SHA-256, which the lock wants. Their weaker
// checksum is believed this once, as far as the recipe allows it: the signature decides.
func (rq *Request) fetchWeak(ctx context.Context, c *fetch.Client, chosen []*record, all []verified) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, rec := range chosen {
		if strings.EqualFold(rec.checksum.Type, "sha256") {
			continue
		}
		g.Go(func() error {
			sum := sha256.New()
			f, err := checked(ctx, c, rec.from.mirrors, rec.path, maxPackage, func(f io.Reader) error {
				return rec.checksum.check(io.TeeReader(f, sum), rq.SHA1)
			})
			if err != nil {
				return fmt.Errorf("repository %s: package %s: %w", rec.from.Name, rec, err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return err
			}
			return all[i].verify(ctx, rq, rec, info.Size(), hex.EncodeToString(sum.Sum(nil)), f)
		})
	}
	return g.Wait()
}

// fetchStrong fetches and verifies the other packages.
func (rq *Request) fetchStrong(ctx context.Context, c *fetch.Client, chosen []*record, all []verified, r *progress.Reporter) error {
	var files []fetch.File
	var which []int
	for i, rec := range chosen {
		if all[i].info != nil {
			continue
		}
		sum := strings.ToLower(strings.TrimSpace(rec.checksum.Sum))
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size || rec.size <= 0 || rec.size > maxPackage {
			return fault.Newf(fault.Input, "repository %s: package %s: a size of %d bytes, of at most %d, and the checksum %.70q", rec.from.Name, rec, rec.size, maxPackage, sum)
		}
		files = append(files, fetch.File{Path: rec.path, Size: rec.size, SHA256: sum, Name: rec.name, Mirrors: rec.from.mirrors})
		which = append(which, i)
	}
	return c.Verified(ctx, files, r, func(ctx context.Context, n int, path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return all[which[n]].verify(ctx, rq, chosen[which[n]], files[n].Size, files[n].SHA256, f)
	})
}

// verify verifies a package and describes it for the lock.
func (v *verified) verify(ctx context.Context, rq *Request, rec *record, size int64, sum string, f io.Reader) error {
	info, signatures, err := rpm.Verify(ctx, f, rpm.Policy{Keys: rec.from.Keys, SHA1: rq.SHA1, Expired: rq.Expired, Now: rq.Now})
	if err != nil {
		return fmt.Errorf("repository %s: %w", rec.from.Name, err)
	}
	v.info = info
	v.Package = lock.Package{Name: rec.name, Version: rec.version(), Arch: rec.arch, Source: rec.source, Repository: rec.from.Name,
		Path: rec.path, Size: size, SHA256: sum}
	for _, s := range signatures {
		v.Signers = append(v.Signers, s.Certificate)
	}
	slices.Sort(v.Signers)
	v.Signers = slices.Compact(v.Signers)
	for _, c := range []struct{ what, said, is string }{
		{"name", rec.name, info.Name}, {"version", rec.version(), info.EVR.String()}, {"architecture", rec.arch, info.Arch},
	} {
		if c.said != c.is {
			return fault.New(fault.Trust, fmt.Errorf("repository %s: package %s: the metadata gives its %s as %s, the signed package as %s",
				rec.from.Name, rec, c.what, c.said, c.is), "the mirror is broken or hostile; use another one")
		}
	}
	return nil
}
