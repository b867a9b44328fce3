package makepkg

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/blake2b"

	"ingot/internal/fault"
	"ingot/internal/folder"
)

// Source is something that a PKGBUILD takes from elsewhere, and what fixes its content.
type Source struct {
	Name string // what it is called in the folder of sources
	URL  string // of a file (http, https), or of a git repository (without git+)

	sums   map[string]string // of a file, by algorithm
	SHA256 string            // of a file, "" as long as it is not known

	Git    bool
	Ref    string // of a git repository: the ref that the PKGBUILD will ask for, refs/heads/NAME or refs/tags/NAME, or ""
	Commit string // of a git repository

	// Empty is a detached signature that nothing fixes the content of. An empty file stands in for it: it is not looked
	// at, since the sum of what it signs says the same.
	Empty bool
}

// hashes are the algorithms that fix a content. The checksum of cksum(1) does not.
var hashes = map[string]func() hash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
	"b2": func() hash.Hash {
		h, err := blake2b.New512(nil)
		if err != nil {
			panic(err) // of a key, and there is none
		}
		return h
	},
}

// Sources returns what has to be fetched. Files that lie in the PKGBUILD's folder are not among it, since the folder's
// own commit or digest fixes them. Given are the SHA-256 or the commits of those sources whose content the PKGBUILD leaves
// open, by name. Errors are of kind Input, or Trust for a source that nothing fixes.
func (in *Info) Sources(own folder.Folder, given map[string]string) ([]Source, error) {
	var all []Source
	unused := maps.Clone(given)
	for _, s := range in.sources {
		x, err := s.parse()
		if err != nil {
			return nil, fmt.Errorf("source %.200q of the PKGBUILD of %s: %w", s.text, in.Base, err)
		}
		if x == nil || !x.Git && own.Find(x.Name) != nil {
			continue
		}
		delete(unused, x.Name)
		if slices.ContainsFunc(all, func(y Source) bool { return y.Name == x.Name }) {
			return nil, fault.Newf(fault.Input, "the PKGBUILD of %s has two sources called %s", in.Base, x.Name)
		}
		if err := x.pin(given[x.Name]); err != nil {
			return nil, fmt.Errorf("source %s of the PKGBUILD of %s: %w", x.Name, in.Base, err)
		}
		all = append(all, *x)
	}
	for i := range all {
		if err := all[i].checkPinned(in, all); err != nil {
			return nil, err
		}
	}
	for name := range unused {
		return nil, fault.Newf(fault.Input, "the recipe gives a hash for the source %s, which the PKGBUILD of %s does not have", name, in.Base)
	}
	return all, nil
}

// parse reads [NAME::]URL[#FRAGMENT], nil for a file in the PKGBUILD's folder (PKGBUILD(5)).
func (s *source) parse() (*Source, error) {
	name, address, named := strings.Cut(s.text, "::")
	if !named {
		name, address = "", s.text
	}
	scheme, _, remote := strings.Cut(address, "://")
	if !remote {
		return nil, nil
	}
	x := &Source{Name: name, URL: address, sums: s.sums}
	kind, transport, vcs := strings.Cut(scheme, "+")
	switch {
	case kind == "git" && (!vcs || slices.Contains([]string{"https", "http", "git"}, transport)):
		if err := x.git(address); err != nil {
			return nil, err
		}
	case !vcs && (kind == "https" || kind == "http"):
		if name == "" {
			x.Name = address[strings.LastIndexByte(address, '/')+1:]
		}
	case scheme == "file" || vcs && transport == "file":
		return nil, fault.New(fault.Input, errors.New("it is on this machine, outside the PKGBUILD's folder"), "put it beside the PKGBUILD")
	default:
		return nil, fault.New(fault.Input, fmt.Errorf("sources of kind %s are not fetched", scheme), "http, https and git are")
	}
	if u, err := url.Parse(x.URL); err != nil || u.Host == "" || u.User != nil || strings.ContainsFunc(x.URL, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return nil, fault.Newf(fault.Input, "it is no plain URL")
	}
	if x.Name == "" || x.Name[0] == '.' || x.Name[0] == '-' || len(x.Name) > 255 || strings.ContainsFunc(x.Name, func(c rune) bool { return c < ' ' || c == '/' || c == 0x7f }) {
		return nil, fault.Newf(fault.Input, "%.100q is no name of a file", x.Name)
	}
	return x, nil
}

// git reads the URL of a repository, as makepkg's git.sh does.
func (s *Source) git(address string) error {
	s.Git = true
	address, fragment, _ := strings.Cut(address, "#")
	address, _, _ = strings.Cut(address, "?")
	fragment, _, _ = strings.Cut(fragment, "?")
	if s.URL = strings.TrimPrefix(address, "git+"); s.Name == "" {
		s.Name, _, _ = strings.Cut(path.Base(s.URL), ".git")
	}
	kind, value, _ := strings.Cut(fragment, "=")
	switch kind {
	case "":
	case "commit":
		s.Commit = value
	case "tag":
		s.Ref = "refs/tags/" + value
	case "branch":
		s.Ref = "refs/heads/" + value
	default:
		return fault.Newf(fault.Input, "%.80q is neither a commit, a tag nor a branch", fragment)
	}
	if s.Ref != "" && (strings.ContainsAny(s.Ref, " ~^:?*[\\") || strings.Contains(s.Ref, "..") || path.Clean(s.Ref) != s.Ref) {
		return fault.Newf(fault.Input, "%.80q is no name of a tag or a branch", value)
	}
	return nil
}

// pin takes in what the recipe says of the content.
func (s *Source) pin(given string) error {
	for algorithm, sum := range s.sums {
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != hashes[algorithm]().Size() {
			return fault.Newf(fault.Input, "%.100q is no sum of %s", sum, algorithm)
		}
	}
	s.SHA256 = s.sums["sha256"]
	if given == "" {
		return nil
	}
	if s.Git != (len(given) == 40) {
		return fault.Newf(fault.Input, "the recipe gives %s for it: of a git repository, a commit (40 digits) is wanted, of a file, a SHA-256 (64)", given)
	}
	for _, has := range []string{s.SHA256, s.Commit} {
		if has != "" && has != given {
			return fault.Newf(fault.Trust, "the recipe gives %s for it, the PKGBUILD %s", given, has)
		}
	}
	if s.Git {
		s.Commit = given
	} else {
		s.SHA256 = given
	}
	return nil
}

// Fix takes in what a lock says of the content: the SHA-256 of a file, or the commit of a git repository.
func (s *Source) Fix(sha256, commit string) error {
	for _, x := range []struct {
		is   *string
		lock string
	}{{&s.SHA256, sha256}, {&s.Commit, commit}} {
		if *x.is != "" && *x.is != x.lock {
			return fault.Newf(fault.Trust, "source %s is %s, the lock says %s", s.Name, *x.is, x.lock)
		}
		*x.is = x.lock
	}
	return nil
}

// checkPinned refuses a source whose content nothing fixes.
func (s *Source) checkPinned(in *Info, all []Source) error {
	what, want := "its sum is SKIP, or there is none", "SHA-256"
	switch {
	case s.pinned():
		return nil
	case s.Git:
		what, want = "it names no commit, and a tag or a branch can move", "COMMIT"
	case s.signs(all):
		s.Empty = true
		return nil
	}
	return fault.New(fault.Trust, fmt.Errorf("source %s of the PKGBUILD of %s (%s): %s, so that nothing says what it must be", s.Name, in.Base, s.URL, what),
		fmt.Sprintf("look at it, and give its hash in the recipe: sources: {%q: %s}", s.Name, want))
}

// pinned reports whether the content is fixed.
func (s *Source) pinned() bool {
	if s.Git {
		return isCommit(s.Commit)
	}
	return len(s.sums) > 0 || s.SHA256 != ""
}

// signs reports whether the source is the detached signature of another one whose content is fixed, or of what that holds
// compressed.
func (s *Source) signs(all []Source) bool {
	ext := path.Ext(s.Name)
	if !slices.Contains([]string{".sig", ".asc", ".sign"}, ext) {
		return false
	}
	signed := strings.TrimSuffix(s.Name, ext)
	return slices.ContainsFunc(all, func(o Source) bool {
		return !o.Git && o.pinned() && (o.Name == signed || strings.HasPrefix(o.Name, signed+"."))
	})
}

func isCommit(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == sha1.Size && strings.ToLower(text) == text
}

// check compares a file with all sums that the PKGBUILD has of it.
func (s *Source) check(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	running := make(map[string]hash.Hash, len(s.sums))
	var all []io.Writer
	for algorithm := range s.sums {
		running[algorithm] = hashes[algorithm]()
		all = append(all, running[algorithm])
	}
	if _, err := io.Copy(io.MultiWriter(all...), f); err != nil {
		return err
	}
	for algorithm, want := range s.sums {
		if got := hex.EncodeToString(running[algorithm].Sum(nil)); got != want {
			return fault.New(fault.Trust, fmt.Errorf("source %s (%s) is not what the PKGBUILD wants: %ssum %s, not %s", s.Name, s.URL, algorithm, got, want),
				"the file was changed there, or the PKGBUILD is out of date")
		}
	}
	return nil
}
