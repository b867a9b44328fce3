package install

import (
	"archive/tar"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/internal/alpm"
	"ingot/internal/compress"
	"ingot/internal/expand"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/tree"
)

// pkg is a package to install, with all that has to be known of it but the content of its files.
type pkg struct {
	lock.Package
	info     *alpm.Package
	settings []alpm.Setting
	own      []ownFile         // what pacman keeps in its database, as the package has it
	script   []byte            // .INSTALL, nil if there is none
	path     string            // the expanded package
	size     int64             // of the archive in it
	members  []member          // what to extract, in the package's order
	files    []string          // what pacman takes for its files, sorted; those of directories end in "/"
	sums     map[string]string // MD5 of backup files, in hexadecimal, by path
}

// member is a file, directory or link of a package.
type member struct {
	tree.Entry
	link   string // the path that this is another name of; Entry then has the path alone
	offset int64  // in the expanded package, of the content of a regular file
	sparse bool   // the content does not stand there as it is
}

func (m *member) isDir() bool { return m.Mode&unix.S_IFMT == unix.S_IFDIR }

// ownFile is a file of the package itself that goes into the database.
type ownFile struct {
	tree.Entry // with a path in the database's folder of the package
	data       []byte
}

// openPackages expands and reads all packages, the largest first, and checks that they are what the lock says.
func (in *installer) openPackages(ctx context.Context) error {
	task := in.Task.Begin("expanding packages", int64(len(in.Lock.Packages)), progress.Items)
	names := make(map[string]bool)
	for _, l := range in.Lock.Packages {
		if names[l.Name] {
			return fault.Newf(fault.Input, "the lock names package %s twice", l.Name)
		}
		names[l.Name] = true
		in.pkgs = append(in.pkgs, &pkg{Package: l})
	}
	err := in.store.LoadAll(ctx, in.Jobs, in.Lock.Packages, in.File, func(i int) expand.Format { return in.pkgs[i] }, func(i int, file string) error {
		task.Add(1)
		p := in.pkgs[i]
		return p.Matches(file, p.info.Name, p.info.Version, p.info.Arch)
	})
	task.End(err)
	return err
}

// seal ends an expanded package, behind the end of the archive, where tar(1) does not look.
const seal = expand.Seal("\ningot-sha256 ")

// Expand writes the expanded form of a package: the archive without compression.
func (p *pkg) Expand(ctx context.Context, w, r *os.File, _ int64) error {
	limit, err := contentLimit(r)
	if err != nil {
		return err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	plain, err := compress.Reader(r, limit)
	if err != nil {
		return err
	}
	defer plain.Close()
	sum := sha256.New()
	if _, err := expand.Copy(ctx, w, sum, plain); err != nil {
		return err
	}
	_, err = w.Write(seal.Append(nil, sum))
	return err
}

// maxContent bounds a package that does not say how much it holds, in bytes.
const maxContent = 8 << 30

// contentLimit bounds a package's archive by what the package says of itself: the bytes of its files, and how many
// files these are, with what tar needs for each of them.
func contentLimit(r io.ReadSeeker) (int64, error) {
	p, err := alpm.NewReader(r)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if p.Mtree == nil {
		return maxContent, nil
	}
	files, err := readMtree(p)
	if err != nil {
		return 0, err
	}
	return min(64<<20+2*p.Info.Size+int64(len(files))<<13, alpm.MaxContent), nil
}

func readMtree(p *alpm.Reader) ([]alpm.MtreeEntry, error) {
	files, err := alpm.ReadMtree(strings.NewReader(string(p.Mtree)))
	if err != nil {
		return nil, fault.New(fault.Input, fmt.Errorf("its .MTREE: %w", err), "")
	}
	return files, nil
}

// Load reads an expanded package, and verifies its checksum first where it is asked to.
func (p *pkg) Load(file string, verify bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if verify {
		if err := seal.Check(f, st.Size(), 0); err != nil {
			return err
		}
	}
	body := io.NewSectionReader(f, 0, st.Size()-seal.Size())
	r, err := alpm.NewPlainReader(body)
	if err != nil {
		return err
	}
	defer r.Close()
	q := &pkg{Package: p.Package, path: file, size: body.Size(), info: r.Info, settings: r.Settings, script: r.Install}
	if err := q.read(r, body); err != nil {
		return err
	}
	*p = *q
	return nil
}

func (p *pkg) read(r *alpm.Reader, body *io.SectionReader) error {
	for _, f := range []struct {
		name, in string
		data     []byte
	}{{"install", ".INSTALL", r.Install}, {"changelog", ".CHANGELOG", r.Changelog}, {"mtree", ".MTREE", r.Mtree}} {
		if f.data == nil {
			continue
		}
		e, _, err := tree.FromTar(r.Headers[f.in])
		if err != nil {
			return err
		}
		e.Path, e.Mode = f.name, unix.S_IFREG|0o644
		p.own = append(p.own, ownFile{e, f.data})
	}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		m, err := newMember(h)
		if err != nil {
			return err
		}
		if m.offset, err = r.Offset(); err != nil {
			return err
		}
		if !m.sparse && m.offset+m.Size > body.Size() {
			return fault.Newf(fault.Input, "%s ends after the package", m.Path)
		}
		p.members = append(p.members, m)
	}
	if err := p.list(r); err != nil {
		return err
	}
	return p.sumBackup(body)
}

func newMember(h *tar.Header) (m member, err error) {
	if m.Entry, m.link, err = tree.FromTar(h); err != nil {
		return m, err
	}
	m.sparse = tree.IsSparse(h)
	for name := range m.Xattrs {
		// Those that the filesystem itself interprets, such as ACLs, are no data to pacman's libarchive.
		if strings.HasPrefix(name, "system.") || strings.HasPrefix(name, "xfsroot.") {
			delete(m.Xattrs, name)
		}
	}
	return m, nil
}

// list decides which files are the package's. For pacman they are those of the .MTREE, if there is one; what the archive
// has besides is not extracted.
func (p *pkg) list(r *alpm.Reader) error {
	add := func(path string, dir bool) {
		if path[0] == '.' {
			return // "." itself, or the package's own files
		}
		if dir {
			path += "/"
		}
		p.files = append(p.files, path)
	}
	if r.Mtree == nil {
		for _, m := range p.members {
			add(m.Path, m.isDir())
		}
	} else {
		files, err := readMtree(r)
		if err != nil {
			return err
		}
		for _, e := range files {
			add(e.Path, e.Type == "dir")
		}
	}
	slices.Sort(p.files)
	p.members = slices.DeleteFunc(p.members, func(m member) bool {
		if m.isDir() {
			return !p.lists(m.Path + "/")
		}
		return !p.lists(m.Path)
	})
	return nil
}

// lists reports whether a path, with a slash at the end for a directory, is among the package's files.
func (p *pkg) lists(name string) bool {
	_, found := slices.BinarySearch(p.files, name)
	return found
}

// sumBackup takes the MD5 of the files whose changes pacman is to keep.
func (p *pkg) sumBackup(body *io.SectionReader) error {
	if len(p.info.Backup) == 0 {
		return nil
	}
	p.sums = make(map[string]string)
	at := make(map[string]*member)
	for i := range p.members {
		at[p.members[i].Path] = &p.members[i]
	}
	for _, name := range p.info.Backup {
		m := at[name]
		if m != nil && m.link != "" {
			m = at[m.link]
		}
		if m == nil || m.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		content, err := m.open(body)
		if err != nil {
			return err
		}
		if p.sums[name], err = md5Sum(content); err != nil {
			return err
		}
	}
	return nil
}

func md5Sum(r io.Reader) (string, error) {
	sum := md5.New()
	_, err := io.Copy(sum, r)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// open returns the content of a regular file in an expanded package.
func (m *member) open(body *io.SectionReader) (io.Reader, error) {
	if !m.sparse {
		f, at, _ := body.Outer()
		return io.NewSectionReader(f, at+m.offset, m.Size), nil
	}
	// Sparse files are few: the archive is read up to the one that is wanted.
	r, err := alpm.NewPlainReader(io.NewSectionReader(body, 0, body.Size()))
	for err == nil {
		var h *tar.Header
		if h, err = r.Next(); err == nil && h.Name == m.Path {
			return r, nil
		}
	}
	return nil, err
}
