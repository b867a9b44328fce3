// Package fetch brings files from mirrors to this machine and decides whether to believe them.
//
// A file whose size and SHA-256 are known goes into a content-addressed cache that many builds, and many
// processes, share: a file is there whole and verified, or it is not there. Each file falls to the next
// mirror on its own; a download that was cut off goes on where it stopped. What the hashes come from (an
// InRelease, a signed database) is verified against OpenPGP keys that the caller names.
//
// Mirrors are http, https and file URLs.
package fetch

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// workers is how many files are in hand at once; Options.PerHost decides how many of them move bytes.
const workers = 16

// Options says how to fetch. Only Dir is required.
type Options struct {
	Dir     string // root of the cache; made when absent
	Offline bool   // use the cache and file mirrors alone
	PerHost int    // downloads at once from one host; default 4

	ConnectTimeout   time.Duration // name lookup, TCP and TLS; default 10 s
	FirstByteTimeout time.Duration // from the connection to the first byte of the answer; default 20 s
	StallTimeout     time.Duration // an answer that advances less than 4 KiB in this time is given up; default 30 s

	UserAgent string
	Transport http.RoundTripper // nil for one of our own, which honours the proxy variables of the environment
}

// Client fetches files. Its methods may be called by many goroutines.
type Client struct {
	o     Options
	http  *http.Client
	own   *http.Transport // to be closed by Close; nil when the caller brought one
	pause time.Duration   // before the second round over the mirrors
	mu    sync.Mutex
	hosts map[string]*host
}

// New returns a client that keeps its files below o.Dir.
func New(o Options) (*Client, error) {
	if o.Dir == "" {
		return nil, fault.Newf(fault.Usage, "opening the download cache: no directory is given")
	}
	o.PerHost = or(o.PerHost, 4)
	o.ConnectTimeout = or(o.ConnectTimeout, 10*time.Second)
	o.FirstByteTimeout = or(o.FirstByteTimeout, 20*time.Second)
	o.StallTimeout = or(o.StallTimeout, 30*time.Second)
	o.UserAgent = or(o.UserAgent, "ingot")
	c := &Client{o: o, pause: 500 * time.Millisecond, hosts: map[string]*host{}}
	for _, dir := range []string{objects, parts, kept} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o755); err != nil {
			return nil, fault.New(fault.KindOf(err), fmt.Errorf("opening the download cache: %w", err), "")
		}
	}
	if o.Transport == nil {
		c.own = newTransport(o.PerHost)
		o.Transport = c.own
	}
	c.http = &http.Client{Transport: o.Transport, CheckRedirect: checkRedirect}
	return c, nil
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Close ends idle connections. The cache stays.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// File is a file whose content is known before it is fetched.
type File struct {
	Path    string   // below a mirror's root, unescaped
	Size    int64    // bytes
	SHA256  string   // in hexadecimal
	Name    string   // for messages; the last element of Path when empty
	Mirrors []string // URLs of mirror roots, in order of preference
}

func (f *File) check() error {
	sum, err := hex.DecodeString(f.SHA256)
	switch {
	case err != nil || len(sum) != 32:
		return fault.Newf(fault.Input, "fetching %q: %q is no SHA-256", f.Path, f.SHA256)
	case f.Size < 0 || f.Size == math.MaxInt64:
		return fault.Newf(fault.Input, "fetching %q: its size is given as %d", f.Path, f.Size)
	}
	f.SHA256 = strings.ToLower(f.SHA256)
	f.Name = or(f.Name, path.Base(f.Path))
	return nil
}

// Get returns the path of a verified file in the cache, and downloads it first when it is not there. Bytes
// are added to t as they arrive, and all at once when they were there.
//
// The error is of kind Trust when a mirror had a file of another size or hash, Space when the disk is full,
// Unreachable when no mirror gave the file; it names each mirror's reason.
func (c *Client) Get(ctx context.Context, f File, t *progress.Task) (string, error) {
	if err := f.check(); err != nil {
		return "", err
	}
	if p, ok := c.object(f); ok {
		t.Add(f.Size)
		return p, nil
	}
	mirrors, err := c.mirrors(f.Mirrors, f.Path)
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", f.Name, err)
	}
	part, err := c.lockPart(ctx, f, t)
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", f.Name, err)
	}
	if part == nil { // another build brought it while this one waited
		t.Add(f.Size)
		p, _ := c.object(f)
		return p, nil
	}
	defer part.close()
	err = c.try(ctx, mirrors, func(ctx context.Context, m mirror) (int64, error) {
		before := part.credited // which what is fetched for the second time does not add to
		err := c.download(ctx, m, part)
		return part.credited - before, err
	})
	if err == nil {
		var p string
		if p, err = part.commit(c.objectPath(f.SHA256)); err == nil {
			return p, nil
		}
	}
	if fault.KindOf(err) == fault.Space {
		part.remove()
		return "", fault.New(fault.Space, fmt.Errorf("fetching %s (%s) into %s: %w", f.Name,
			humanize.Bytes(uint64(f.Size)), c.o.Dir, err), "free some space, or put the cache on another disk")
	}
	return "", fmt.Errorf("fetching %s: %w", f.Name, err)
}

// All gets many files side by side, as one task of r that counts bytes. The paths are in the order of the
// files. It stops at the first file that cannot be had.
func (c *Client) All(ctx context.Context, files []File, r *progress.Reporter) (paths []string, err error) {
	var total int64
	for _, f := range files {
		total += f.Size
	}
	t := r.Begin("download", total, progress.Bytes)
	defer func() { t.End(err) }()
	paths = make([]string, len(files))
	var missing []int
	for i, f := range files {
		if err := f.check(); err != nil {
			return nil, err
		}
		if p, ok := c.object(f); ok {
			paths[i] = p
			t.Add(f.Size)
		} else {
			missing = append(missing, i)
		}
	}
	var bytes atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, i := range missing {
		g.Go(func() error {
			p, err := c.Get(ctx, files[i], t)
			paths[i] = p
			bytes.Add(files[i].Size)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if len(missing) == 0 {
		t.Done("%d files, all cached", len(files))
	} else {
		t.Done("%d of %d files, %s", len(missing), len(files), humanize.Bytes(uint64(bytes.Load())))
	}
	return paths, nil
}

// verifiers is how many files are verified at once: some wait for a mirror's answer while others compute.
const verifiers = 8

// Verified gets many files as All does, and then has each of them checked, several at once, as a second task of r.
func (c *Client) Verified(ctx context.Context, files []File, r *progress.Reporter, check func(ctx context.Context, i int, path string) error) (err error) {
	paths, err := c.All(ctx, files, r)
	if err != nil {
		return fmt.Errorf("fetching the packages to verify: %w", err)
	}
	t := r.Begin("verifying signatures", int64(len(files)), progress.Items)
	defer func() { t.End(err) }()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(verifiers)
	for i, path := range paths {
		g.Go(func() error {
			defer t.Add(1)
			return check(ctx, i, path)
		})
	}
	return g.Wait()
}

// mirror is a mirror's root and the URL of the file in question.
type mirror struct {
	root string   // as the caller spelt it
	url  *url.URL // of the file
}

// mirrors returns where a file may be had, without the network's mirrors when offline.
func (c *Client) mirrors(roots []string, file string) ([]mirror, error) {
	if !filepath.IsLocal(file) || strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fault.Newf(fault.Input, "%q is no path below a mirror's root", file)
	}
	var all []mirror
	for _, root := range roots {
		u, err := url.Parse(root)
		if err != nil {
			return nil, fault.Newf(fault.Input, "a mirror's URL cannot be parsed: %w", bare(err))
		}
		switch {
		case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && path.IsAbs(u.Path):
		case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
			if c.o.Offline {
				continue
			}
		default:
			return nil, fault.New(fault.Input, fmt.Errorf("%s is no mirror", redact(u)),
				"a mirror is a URL such as https://host/path/ or file:///path/")
		}
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/"+file, ""
		all = append(all, mirror{root, u})
	}
	if len(all) == 0 && c.o.Offline {
		return nil, fault.New(fault.Unreachable, fmt.Errorf("%s is not in the cache, and this run is offline", file),
			"run once without --offline")
	}
	if len(all) == 0 {
		return nil, fault.Newf(fault.Input, "no mirror is given for %s", file)
	}
	return all, nil
}
