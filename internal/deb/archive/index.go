package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"

	"ingot/internal/compress"
	"ingot/internal/deb"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
)

const (
	maxInRelease = 32 << 20 // bytes
	maxIndex     = 1 << 30  // bytes of a Packages index, decompressed
)

// index is a Packages index of a repository.
type index struct {
	repository string
	pin        int
	file       fetch.File // the compressed file
	plain      string     // its path by name, below the mirror's root

	records   []*record
	mentioned []string // every name in it, in the order in which they turn up
}

// open fetches and verifies a repository's InRelease and returns its indexes, not read yet.
func (rp *Repository) open(ctx context.Context, c *fetch.Client, arch string, now time.Time) (lock.Index, []*index, error) {
	path := "dists/" + rp.Suite + "/InRelease"
	fail := func(err error) (lock.Index, []*index, error) {
		return lock.Index{}, nil, fmt.Errorf("repository %s: %s: %w", rp.Name, path, err)
	}
	data, mirror, err := c.Bytes(ctx, rp.Mirrors, path, maxInRelease)
	if err != nil {
		return lock.Index{}, nil, fmt.Errorf("repository %s: %w", rp.Name, err)
	}
	text, signatures, err := rp.Keys.VerifyClearsigned(data, now)
	if err != nil {
		return fail(fmt.Errorf("from %s: %w", mirror, err))
	}
	var folders []string
	for _, component := range rp.Components {
		folders = append(folders, component+"/binary-"+arch, component+"/binary-all")
	}
	rel, err := parseRelease(text, folders...)
	if err != nil {
		return fail(fault.New(fault.Input, err, ""))
	}
	if err := rel.check(rp.Suite, now); err != nil {
		return fail(err)
	}
	sum := sha256.Sum256(data)
	ix := lock.Index{Repository: rp.Name, Path: path, SHA256: hex.EncodeToString(sum[:]), Date: rel.date}
	for _, s := range signatures {
		if !slices.Contains(ix.Signers, s.Fingerprint) {
			ix.Signers = append(ix.Signers, s.Fingerprint)
		}
	}
	// What the InRelease names is best taken from where it came from: mirrors differ in age.
	mirrors := append([]string{mirror}, slices.DeleteFunc(slices.Clone(rp.Mirrors), func(m string) bool { return m == mirror })...)
	var all []*index
	for _, component := range rp.Components {
		found := false
		for _, a := range []string{arch, "all"} {
			if a == "all" && !rel.allSeparate {
				continue
			}
			if i := rel.index(rp.Suite, component+"/binary-"+a+"/"); i != nil {
				i.repository, i.file.Mirrors = rp.Name, mirrors
				i.file.Name = rp.Name + " " + component + " " + a
				all, found = append(all, i), true
			}
		}
		if !found {
			return fail(fault.New(fault.Missing, fmt.Errorf("it has no packages for %s in component %s", arch, component),
				"correct the repository's components or the architecture"))
		}
	}
	return ix, all, nil
}

// index returns the smallest form of a Packages index in a folder, or nil.
func (r *release) index(suite, folder string) *index {
	for _, suffix := range []string{".xz", ".zst", ".gz", ""} {
		e, ok := r.files[folder+"Packages"+suffix]
		if !ok || e.size == 0 && suffix != "" {
			continue
		}
		base := "dists/" + suite + "/" + folder
		i := &index{pin: r.pin, plain: base + "Packages" + suffix, file: fetch.File{Size: e.size, SHA256: e.sha256}}
		i.file.Path = i.plain
		if r.byHash {
			i.file.Path = base + "by-hash/SHA256/" + e.sha256
		}
		return i
	}
	return nil
}

// read fetches the index and takes in its packages for an architecture.
func (i *index) read(ctx context.Context, c *fetch.Client, arch string, t *progress.Task) error {
	if i.file.Size == 0 {
		return nil
	}
	path, err := c.Get(ctx, i.file, t)
	if err != nil && i.file.Path != i.plain && ctx.Err() == nil { // a mirror may lack the copy by hash
		byName := i.file
		byName.Path = i.plain
		var second error
		if path, second = c.Get(ctx, byName, t); second == nil {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("repository %s: %w", i.repository, err)
	}
	digest := path + digestSuffix
	if err := i.parse(digest, arch, nil); err == nil {
		return nil
	}
	var text bytes.Buffer
	if err := i.parse(path, arch, &text); err != nil {
		return fmt.Errorf("repository %s: reading %s: %w", i.repository, i.plain, err)
	}
	if err := writeDigest(digest, text.Bytes()); err != nil {
		t.Logf("the next run will take longer: keeping a digest of %s: %v", i.file.Name, err)
	}
	return nil
}

// parse takes in an index or a digest of one. If digest is not nil, it gets the text of the wanted fields.
func (i *index) parse(path, arch string, digest *bytes.Buffer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := compress.Reader(f, maxIndex)
	if err != nil {
		return err
	}
	defer r.Close()
	return i.take(r, arch, digest)
}

func (i *index) take(r io.Reader, arch string, digest *bytes.Buffer) error {
	i.records, i.mentioned = nil, nil
	seen := make(map[string]struct{})
	err := readRecords(r, func(rec *record, p *deb.Paragraph) {
		if digest != nil {
			digest.Write(append(p.Append(digest.AvailableBuffer()), '\n'))
		}
		if rec.arch == arch || rec.arch == "all" {
			rec.from = i
			i.records = append(i.records, rec)
			i.mention(seen, p)
		}
	})
	if err != nil {
		return fault.New(fault.Input, err, "")
	}
	return nil
}

// mention notes the names in a stanza that have not turned up before. Where nothing else decides between two
// packages that provide the same name, apt takes the one whose name came up last while it read the indexes
// (the higher identifier in its cache; CompareProviders in its depcache.cc). To choose the same packages,
// that order is kept here, with the fields in the order in which apt reads them.
func (i *index) mention(seen map[string]struct{}, p *deb.Paragraph) {
	note := func(name string) {
		if _, ok := seen[name]; !ok {
			seen[name] = struct{}{}
			i.mentioned = append(i.mentioned, name)
		}
	}
	note(p.Get("Package"))
	for _, field := range [...]string{"Pre-Depends", "Depends", "Conflicts", "Breaks", "Recommends", "Suggests",
		"Replaces", "Enhances", "Provides"} {
		for text := p.Get(field); text != ""; {
			one := text
			if end := strings.IndexAny(text, ",|"); end >= 0 {
				one, text = text[:end], text[end+1:]
			} else {
				text = ""
			}
			one = strings.TrimLeft(one, blanks)
			if end := strings.IndexAny(one, blanks+"([<"); end >= 0 {
				one = one[:end]
			}
			if one != "" {
				note(one)
			}
		}
	}
}

const blanks = " \t\r\n"

// digestSuffix is what the name of a digest adds to that of the index it was made from: the index with the
// wanted fields alone, in a format that is ten times faster to decompress. The number changes with wanted.
const digestSuffix = ".fields-1.zst"

func writeDigest(path string, text []byte) error {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, z.EncodeAll(text, nil), 0o644)
}
