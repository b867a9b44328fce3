package install

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"ingot/internal/tree"
)

// compileOnly is the postinst that dh_python3 writes for a package with Python modules and nothing else to
// configure, without comments, and with NAME for the package.
const compileOnly = `set -e
if command -v py3compile >/dev/null 2>&1; then
py3compile -p NAME
fi
if command -v pypy3compile >/dev/null 2>&1; then
pypy3compile -p NAME || true
fi
`

// onlyCompiles reports whether all that configuring a package does is to compile its own Python modules. What
// that makes is a cache: nobody can tell whether it is there already, and so it can be made beside whatever
// else goes on.
func (p *pkg) onlyCompiles() bool {
	var b strings.Builder
	for _, line := range p.lines("postinst") {
		words := strings.Fields(line)
		for i, w := range words {
			if w == p.Name || w == p.Name+":"+p.Arch {
				words[i] = "NAME"
			}
		}
		b.WriteString(strings.Join(words, " ") + "\n")
	}
	return b.String() == compileOnly
}

// pycHeaderSize is the size of the header of compiled Python: a magic number, flags, and then either the
// source's time and size, 4 bytes each, or a hash of it (PEP 552).
const pycHeaderSize = 16

// checkedHash are the flags of compiled Python that is valid for a source of a certain hash.
const checkedHash = 3

// datePyc makes compiled Python valid by the time and size of its source, as it is on every Debian system.
// Told to build reproducibly (SOURCE_DATE_EPOCH), Python makes it valid by a hash, for which it would have to
// read every source again at every start, the first boot included. Sources come from packages, with their
// times, so that either is reproducible; the compiled code is the same.
func (in *installer) datePyc() error {
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return err
	}
	defer w.Close()
	done := make(map[string]bool)
	for _, p := range in.pkgs {
		for _, f := range p.files {
			dir := path.Dir(f[1:])
			if !strings.HasSuffix(f, ".py") || done[dir] {
				continue
			}
			done[dir] = true
			cache := path.Join(dir, "__pycache__")
			compiled, _ := fs.ReadDir(tree.FS(in.root), cache) // what cannot be listed is none
			for _, e := range compiled {
				if !strings.HasSuffix(e.Name(), ".pyc") || !e.Type().IsRegular() {
					continue
				}
				module, _, _ := strings.Cut(e.Name(), ".")
				if err := in.datePycFile(w, path.Join(cache, e.Name()), path.Join(dir, module+".py")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (in *installer) datePycFile(w *tree.Writer, name, source string) error {
	src, err := w.Open(source) // through links, as Python finds it
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st, err := src.Stat()
	src.Close()
	if err != nil {
		return err
	}
	f, err := in.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var header [pycHeaderSize]byte
	if _, err := io.ReadFull(f, header[:]); err != nil || binary.LittleEndian.Uint32(header[4:]) != checkedHash {
		return nil // not for us to judge: Python compiles anew what it cannot read
	}
	binary.LittleEndian.PutUint32(header[4:], 0)
	binary.LittleEndian.PutUint32(header[8:], uint32(st.ModTime().Unix()))
	binary.LittleEndian.PutUint32(header[12:], uint32(st.Size()))
	_, err = f.WriteAt(header[:], 0)
	return err
}
