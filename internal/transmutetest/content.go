package transmutetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/deb/install"
	"ingot/internal/tree"
)

// node is a file of a package. Names of one file share an Inode, and their data.
type node struct {
	tree.Entry
	data []byte
}

func (n *node) is(kind uint32) bool { return n.Mode&unix.S_IFMT == kind }

// content is what a package holds, by path.
type content struct {
	nodes  map[string]*node
	layout func(string) string // where a path of a Debian package goes
	inodes uint64
	backup []string  // configuration files
	newest time.Time // of the Debian packages' files
}

func newContent(layout func(string) string) *content {
	return &content{nodes: make(map[string]*node), layout: layout}
}

// add takes over what a Debian package holds, but for what the patterns name.
func (c *content) add(d *deb, dropped func(string) bool) error {
	f, err := install.OpenFile(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	names := make(map[string]*node) // as the package has them
	for {
		e, link, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("package %s: %w", d.Name, err)
		}
		if e.Path == "." {
			continue
		}
		if e.MTime.After(c.newest) {
			c.newest = e.MTime
		}
		n := &node{Entry: e}
		switch {
		case link != "":
			first := names[link]
			if first == nil {
				return fmt.Errorf("package %s: %s is a link to %s, which is not there", d.Name, e.Path, link)
			}
			if first.Inode == 0 {
				c.inodes++
				first.Inode = c.inodes
			}
			own := *first
			own.Path = e.Path
			n = &own
		case n.is(unix.S_IFREG):
			n.data = make([]byte, e.Size)
			if _, err := io.ReadFull(f, n.data); err != nil {
				return fmt.Errorf("package %s: %s: %w", d.Name, e.Path, err)
			}
		case n.is(unix.S_IFLNK):
			n.Target = c.retarget(e.Path, e.Target)
		}
		names[e.Path] = n
		if n.Path = c.layout(e.Path); n.Path == "" || dropped(n.Path) {
			continue
		}
		if err := c.put(n); err != nil {
			return fmt.Errorf("package %s: %w", d.Name, err)
		}
	}
	for _, name := range f.Lines("conffiles") {
		if p := c.layout(strings.TrimPrefix(name, "/")); c.nodes[p] != nil {
			c.backup = append(c.backup, p)
		}
	}
	return nil
}

// retarget returns what a symbolic link must point to for it to mean the same from its new place.
func (c *content) retarget(name, target string) string {
	if path.IsAbs(target) {
		return target // the tree's own links lead to where things are now
	}
	meant := strings.TrimPrefix(path.Join("/", path.Dir(name), target), "/")
	from := c.layout(name)
	if meant == "" || c.layout(meant) == "" || from == "" {
		return target
	}
	now := strings.TrimPrefix(path.Join("/", path.Dir(from), target), "/")
	if c.layout(now) == c.layout(meant) {
		return target
	}
	return "/" + c.layout(meant)
}

// put puts a node in its place. Where merging directories brings two names together, a file or directory goes before
// a symbolic link, since the link would lead to it.
func (c *content) put(n *node) error {
	if n.is(unix.S_IFLNK) {
		if to := strings.TrimPrefix(n.Target, "/"); to == n.Path || c.layout(to) == n.Path && path.IsAbs(n.Target) ||
			!path.IsAbs(n.Target) && path.Join(path.Dir(n.Path), n.Target) == n.Path {
			return nil // it would lead to itself
		}
	}
	old := c.nodes[n.Path]
	switch {
	case old == nil || old.is(unix.S_IFLNK) && !n.is(unix.S_IFLNK):
		c.nodes[n.Path] = n
	case old.is(unix.S_IFDIR) && n.is(unix.S_IFDIR):
	case n.is(unix.S_IFLNK):
	case old.is(unix.S_IFREG) && n.is(unix.S_IFREG) && string(old.data) == string(n.data):
	default:
		return fmt.Errorf("%s is there twice", n.Path)
	}
	return nil
}

// file puts a file of our own in its place, whatever is there.
func (c *content) file(name string, data []byte, mode uint32) {
	c.nodes[name] = &node{Entry: tree.Entry{Path: name, Mode: unix.S_IFREG | mode, Size: int64(len(data))}, data: data}
}

func (c *content) dir(name string, mode uint32) {
	c.nodes[name] = &node{Entry: tree.Entry{Path: name, Mode: unix.S_IFDIR | mode}}
}

func (c *content) link(name, target string) {
	c.nodes[name] = &node{Entry: tree.Entry{Path: name, Mode: unix.S_IFLNK | 0o777, Target: target}}
}

// overlay lays files over the content. Those that start with #! are programs.
func (c *content) overlay(dir fs.FS) error {
	return fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		mode := uint32(0o644)
		if strings.HasPrefix(string(data), "#!") {
			mode = 0o755
		}
		c.file(name, data, mode)
		return nil
	})
}

// shape moves, drops and edits what the Debian packages brought.
func (c *content) shape(s *spec) error {
	for _, from := range slices.Sorted(maps.Keys(s.Move)) {
		if err := c.move(from, s.Move[from]); err != nil {
			return err
		}
	}
	for _, pattern := range s.Drop {
		found := false
		for name := range c.nodes {
			if matches(pattern, name) {
				delete(c.nodes, name)
				found = true
			}
		}
		if !found {
			return fmt.Errorf("there is no %s to drop", pattern)
		}
	}
	for _, e := range s.Edits {
		n := c.nodes[e.File]
		if n == nil || !strings.Contains(string(n.data), e.Old) {
			return fmt.Errorf("there is no %q in %s", e.Old, e.File)
		}
		n.data = []byte(strings.ReplaceAll(string(n.data), e.Old, e.New))
		n.Size = int64(len(n.data))
	}
	return nil
}

// finish makes the links and directories of a package, and sets modes.
func (c *content) finish(s *spec) error {
	for name, target := range s.Links {
		c.link(name, target)
	}
	for name, mode := range s.Dirs {
		m, err := parseMode(mode)
		if err != nil {
			return err
		}
		c.dir(name, m)
	}
	for name, mode := range s.Modes {
		m, err := parseMode(mode)
		if n := c.nodes[name]; err != nil || n == nil {
			return fmt.Errorf("mode %s of %s: %w", mode, name, errors.Join(err, fs.ErrNotExist))
		}
		c.nodes[name].Mode = c.nodes[name].Mode&unix.S_IFMT | m
	}
	for name, caps := range s.Caps {
		value, err := capability(caps)
		if n := c.nodes[name]; err != nil || n == nil {
			return fmt.Errorf("capabilities of %s: %w", name, errors.Join(err, fs.ErrNotExist))
		}
		c.nodes[name].Xattrs = map[string][]byte{"security.capability": value}
	}
	return nil
}

// move renames a file, or a directory with everything in it. Patterns may match several files; then to is a
// directory.
func (c *content) move(from, to string) error {
	moved := false
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		rest, below := strings.CutPrefix(name, from+"/")
		target := to
		if ok, _ := path.Match(from, name); ok && from != name {
			target = path.Join(to, path.Base(name))
		} else if below {
			target = path.Join(to, rest)
		} else if from != name {
			continue
		}
		n := c.nodes[name]
		delete(c.nodes, name)
		n.Path, moved = target, true
		if err := c.put(n); err != nil {
			return err
		}
	}
	if !moved {
		return fmt.Errorf("there is no %s to move", from)
	}
	return nil
}

// matches reports whether a name, or a directory that it is below, matches a pattern.
func matches(pattern, name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

func parseMode(text string) (uint32, error) {
	mode, err := strconv.ParseUint(text, 8, 12)
	return uint32(mode), err
}

// capabilities are the numbers of those that packages use (linux/capability.h).
var capabilities = map[string]uint{"cap_setgid": 6, "cap_setuid": 7, "cap_net_raw": 13}

// capability returns the value of security.capability for NAME[,NAME...], permitted and effective (capabilities(7),
// VFS_CAP_REVISION_2).
func capability(names string) ([]byte, error) {
	const revision2, effective = 0x02000000, 1
	var bits uint32
	for name := range strings.SplitSeq(names, ",") {
		n, ok := capabilities[name]
		if !ok {
			return nil, fmt.Errorf("capability %q is not known here", name)
		}
		bits |= 1 << n
	}
	value := binary.LittleEndian.AppendUint32(nil, revision2|effective)
	value = binary.LittleEndian.AppendUint32(value, bits)
	return append(value, make([]byte, 12)...), nil
}

// sorted returns the nodes, directories above them included, in byte order of their paths.
func (c *content) sorted() []*node {
	for name := range maps.Clone(c.nodes) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if c.nodes[dir] == nil {
				c.dir(dir, 0o755)
			}
		}
	}
	all := make([]*node, 0, len(c.nodes))
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		all = append(all, c.nodes[name])
	}
	return all
}

// merged is the layout of a distribution that has all programs in usr/bin and all libraries in usr/lib.
func merged(name string) string {
	for _, m := range [][2]string{{"bin", "usr/bin"}, {"sbin", "usr/bin"}, {"usr/sbin", "usr/bin"}, {"lib", "usr/lib"},
		{"lib64", "usr/lib"}, {"usr/lib64", "usr/lib"}, {"var/run", "run"}, {"var/lock", "run/lock"}} {
		if name == m[0] {
			return m[1]
		}
		if rest, ok := strings.CutPrefix(name, m[0]+"/"); ok {
			return m[1] + "/" + rest
		}
	}
	return name
}
