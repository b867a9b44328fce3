package kmod

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// Patch is a change to a source, as git diff writes it. Lines of context may be left out: what is replaced must stand on the
// very lines that the patch names.
type Patch struct {
	Name string
	Text []byte
}

// maxPatched bounds a file that is patched.
const maxPatched = 64 << 20

// apply changes the source below a directory of the tree. Nothing is guessed: a patch that does not fit to the line is refused.
func (p Patch) apply(w *tree.Writer, dir string) error {
	files, _, err := gitdiff.Parse(bytes.NewReader(p.Text))
	switch {
	case err != nil:
		return fault.Newf(fault.Input, "patch %s: %w", p.Name, err)
	case len(files) == 0 || bytes.Count(append([]byte("\n"), p.Text...), []byte("\ndiff --git ")) != len(files):
		return fault.New(fault.Input, fmt.Errorf("patch %s is not as git diff writes one", p.Name), "make it with `git diff`, or `git diff --no-index`")
	}
	for _, f := range files {
		if err := applyFile(w, dir, f); err != nil {
			return fmt.Errorf("patch %s: %s: %w", p.Name, f.NewName, err)
		}
	}
	return nil
}

func applyFile(w *tree.Writer, dir string, f *gitdiff.File) error {
	if f.IsRename || f.IsCopy || f.IsBinary || f.IsDelete {
		return fault.Newf(fault.Input, "only changes of texts, and new ones, are supported")
	}
	name, err := tree.CleanPath(dir + "/" + f.NewName)
	if err != nil {
		return err
	}
	mode := uint32(0o644)
	old := io.ReaderAt(bytes.NewReader(nil))
	switch file, err := w.Open(name); {
	case f.IsNew && err == nil:
		file.Close()
		return fault.Newf(fault.Input, "it is to be made, and the source has it")
	case f.IsNew && errors.Is(err, fs.ErrNotExist):
		if f.NewMode&0o100 != 0 {
			mode = 0o755
		}
	case err != nil:
		return fault.New(fault.Input, err, "")
	default:
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if info.Size() > maxPatched {
			return fault.Newf(fault.Input, "a file of %d bytes is too large to be patched", info.Size())
		}
		old, mode = file, uint32(info.Mode().Perm())
	}
	for _, hunk := range f.TextFragments {
		if hunk.OldLines == 0 && !f.IsNew {
			hunk.OldPosition++ // diff names the line before what it inserts, and the library wants the one after
		}
	}
	var out bytes.Buffer
	if err := gitdiff.Apply(&out, old, f); err != nil {
		return fault.New(fault.Input, fmt.Errorf("it does not fit: %w", err), "the patch is for another version of the source")
	}
	return w.Write(tree.Entry{Path: name, Mode: unix.S_IFREG | mode, Size: int64(out.Len()), MTime: unpacked}, &out)
}
