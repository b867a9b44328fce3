package recipe

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"ingot/internal/fault"
	"ingot/internal/folder"
)

// AURPackage is what is built from a PKGBUILD: that of a git repository, or of a folder beside the recipe.
type AURPackage struct {
	Name       string            `yaml:"name" json:"name" jsonschema:"required,pattern=^[a-z0-9@_+][a-z0-9@._+-]{0\\,127}$,description=The package to build and install"`
	URL        string            `yaml:"url,omitempty" json:"url,omitempty" jsonschema:"description=git repository with the PKGBUILD (https\\, http\\, git or file)\\, or the path of one\\, relative to the recipe"`
	Commit     string            `yaml:"commit,omitempty" json:"commit,omitempty" jsonschema:"pattern=^[0-9a-f]{40}$,description=Which commit of the repository"`
	Directory  string            `yaml:"directory,omitempty" json:"directory,omitempty" jsonschema:"description=Folder with the PKGBUILD\\, relative to the recipe\\, in place of url and commit"`
	Sources    map[string]string `yaml:"sources,omitempty" json:"sources,omitempty" jsonschema:"description=What the PKGBUILD leaves open: the SHA-256 of files\\, or the commits of git repositories\\, by their names there"`
	Dependency bool              `yaml:"dependency,omitempty" json:"dependency,omitempty" jsonschema:"description=Install it only where another package depends on it"`
	SkipCheck  bool              `yaml:"skip-check,omitempty" json:"skip-check,omitempty" jsonschema:"description=Do not run the PKGBUILD's tests"`
	Timeout    string            `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"description=Go duration for the build; default 1h"`

	// Content is the digest of Directory when the recipe was loaded.
	Content string `yaml:"-" json:"-"`
}

// DefaultAURTimeout is how long a build may take that names no limit.
const DefaultAURTimeout = time.Hour

// Limit returns the time that the build may take.
func (p AURPackage) Limit() time.Duration { return orDefault(p.Timeout, DefaultAURTimeout) }

// checkAUR checks what is built from PKGBUILDs, and reads their folders.
func (r *Recipe) checkAUR(fail func(pointer []string, format string, args ...any) error) error {
	names := map[string]bool{}
	for i := range r.AUR {
		a := &r.AUR[i]
		p := []string{"aur", fmt.Sprint(i)}
		at := func(key string) []string { return append(slices.Clone(p), key) }
		switch {
		case names[a.Name]:
			return fail(at("name"), "%q stands twice", a.Name)
		case (a.URL == "") == (a.Directory == ""):
			return fail(p, "exactly one of url and directory must be set")
		case (a.URL == "") != (a.Commit == ""):
			return fail(p, "url and commit belong together: a branch moves, a commit does not")
		}
		names[a.Name] = true
		if a.URL != "" {
			if err := checkGitURL(a.URL); err != nil {
				return fail(at("url"), "%v", err)
			}
		}
		if _, err := duration(a.Timeout); err != nil {
			return fail(at("timeout"), "%v", err)
		}
		for name, sum := range a.Sources {
			if !isHex(sum, 40) && !isHex(sum, 64) {
				return fail(append(at("sources"), name), "%q is neither a SHA-256 nor a commit, in lower case", sum)
			}
		}
		if a.Directory == "" {
			continue
		}
		content, err := folder.Read(r.Resolve(a.Directory))
		if err == nil && content.Find("PKGBUILD") == nil {
			err = fault.Newf(fault.Input, "%s has no PKGBUILD", r.Resolve(a.Directory))
		}
		if err != nil {
			return fail(at("directory"), "%v", err)
		}
		a.Content = content.Digest()
	}
	return nil
}

// checkGitURL takes URLs without passwords, and paths.
func checkGitURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }) || text[0] == '-':
		return fmt.Errorf("%q is no URL", text)
	case u.User != nil:
		return fmt.Errorf("a recipe holds no user names and passwords")
	case u.Scheme == "" && !strings.Contains(text, ":"):
		return nil
	case u.Scheme == "file" && u.Host == "" && u.Path != "":
		return nil
	case slices.Contains([]string{"https", "http", "git"}, u.Scheme) && u.Host != "":
		return nil
	}
	return fmt.Errorf("%q is neither an https, http, git or file URL nor a path", text)
}

func isHex(text string, length int) bool {
	return len(text) == length && strings.Trim(text, "0123456789abcdef") == ""
}

// contents are the digests of the folders that AUR packages are built from, by name.
func (r *Recipe) contents() map[string]string {
	all := map[string]string{}
	for _, a := range r.AUR {
		if a.Content != "" {
			all[a.Name] = a.Content
		}
	}
	return all
}
