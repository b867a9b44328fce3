package recipe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"ingot/internal/fault"
)

// maxIncludes bounds how deep recipes may build on each other.
const maxIncludes = 8

// maxSize bounds a recipe's file, in bytes.
const maxSize = 1 << 20

// Load reads a recipe with everything it includes and returns one Recipe for each image of its matrix, in
// order. sets replaces variables and picks from the matrix. Errors are of kind Input and point at file,
// line and column.
func Load(path string, sets map[string]string) ([]*Recipe, error) {
	var files []string
	doc, err := read(path, nil, &files)
	if err != nil {
		return nil, err
	}
	bodies, chosen, err := expand(doc, sets)
	if err != nil {
		return nil, err
	}
	var out []*Recipe
	seen := map[string]bool{}
	for i, body := range bodies {
		r := &Recipe{Path: path, Dir: filepath.Dir(path), Set: chosen[i], source: body, written: files}
		if err := decode(body, reflect.ValueOf(r).Elem(), ""); err != nil {
			return nil, err
		}
		if r.Arch == "" {
			r.Arch = "x86_64"
		}
		if err := constrain(r, body); err != nil {
			return nil, fault.New(fault.Input, err, "`ingot recipe schema` prints what a recipe may hold")
		}
		if err := check(r, body); err != nil {
			return nil, err
		}
		if seen[r.Name] {
			return nil, body.get("name").errorf("name: two images of the matrix are called %q; put a ${variable} into the name", r.Name)
		}
		seen[r.Name] = true
		out = append(out, r)
	}
	return out, nil
}

// readText reads a file that is no larger than a recipe may be, and that is text: an image, say, is not taken into memory or printed.
func readText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxSize || !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return nil, fault.New(fault.Input, fmt.Errorf("%s is no recipe: it is larger than %d MiB, or no text in UTF-8", path, maxSize>>20),
			"a recipe is YAML; `ingot init` writes a first one")
	}
	return data, nil
}

// read parses a file and lays it over what it includes.
func read(path string, chain []string, files *[]string) (*node, error) {
	if slices.Contains(chain, path) || len(chain) > maxIncludes {
		return nil, fault.Newf(fault.Input, "including %s: recipes include each other in a circle or too deep (%s)",
			path, strings.Join(chain, " → "))
	}
	data, err := readText(path)
	if err != nil {
		hint := fault.HintOf(err)
		if len(chain) == 0 && errors.Is(err, os.ErrNotExist) {
			hint = "`ingot init` writes a first recipe"
		}
		return nil, fault.New(fault.KindOf(err), fmt.Errorf("reading recipe: %w", err), hint)
	}
	doc, err := parse(path, data)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(*files, path) {
		*files = append(*files, path)
	}
	if doc.kind != mapNode {
		return nil, doc.errorf("a recipe is a map of keys and values")
	}
	inc := doc.get("include")
	if inc == nil || inc.kind == nullNode {
		return doc, nil
	}
	if inc.kind != listNode {
		return nil, inc.errorf("include: must be a list of files")
	}
	var base *node
	for _, item := range inc.items {
		if item.kind != scalarNode {
			return nil, item.errorf("include: must be a list of files")
		}
		n, err := read(filepath.Join(filepath.Dir(path), item.text), append(chain, path), files)
		if err != nil {
			return nil, fmt.Errorf("%s:%d:%d: %w", item.file, item.line, item.column, err)
		}
		base = merge(base, n.drop("include"))
	}
	return merge(base, doc.drop("include")), nil
}

// check states the rules that neither the types nor the schema can.
func check(r *Recipe, n *node) error {
	fail := func(pointer []string, format string, args ...any) error {
		at, path := locate(n, pointer)
		return at.errorf("%s: %s", orTop(path), fmt.Sprintf(format, args...))
	}
	for i, f := range r.Files {
		p := []string{"files", fmt.Sprint(i)}
		set := 0
		for _, on := range []bool{f.Content != nil, f.Source != "", f.Link != "", f.Directory} {
			if on {
				set++
			}
		}
		if set != 1 {
			return fail(p, "exactly one of content, source, link and directory must be set")
		}
		if f.Path != filepath.Clean(f.Path) || f.Path == "/" {
			return fail(append(p, "path"), "%q is no clean absolute path", f.Path)
		}
	}
	for i, s := range r.Scripts {
		p := []string{"scripts", fmt.Sprint(i)}
		if (s.Run == "") == (s.Source == "") {
			return fail(p, "exactly one of run and source must be set")
		}
		if _, err := duration(s.Timeout); err != nil {
			return fail(append(p, "timeout"), "%v", err)
		}
	}
	if _, err := duration(r.Test.Timeout); err != nil {
		return fail([]string{"test", "timeout"}, "%v", err)
	}
	if _, err := duration(r.Schedule.Jitter); err != nil {
		return fail([]string{"schedule", "jitter"}, "%v", err)
	}
	for field, text := range map[string]string{"age": r.Retain.Age, "launched": r.Retain.Launched, "disable-after": r.Retain.Disable,
		"deregister-after": r.Retain.Deregister} {
		if _, err := Age(text); err != nil {
			return fail([]string{"retain", field}, "%v", err)
		}
	}
	for field, text := range map[string]string{"disk.size": r.Disk.Size, "test.memory": r.Test.Memory} {
		if _, err := Bytes(text); err != nil {
			return fail(strings.Split(field, "."), "%v", err)
		}
	}
	if r.Disk.Table == TableMBR && (r.Disk.Firmware == UEFI || r.Disk.Firmware == Both) {
		return fail([]string{"disk", "table"}, "a disk with an msdos table boots under BIOS alone here; use gpt")
	}
	for i, b := range r.Test.Bus {
		if !slices.Contains([]string{"nvme", "virtio", "scsi", "ide"}, b) {
			return fail([]string{"test", "bus", fmt.Sprint(i)}, "%q is none of nvme, virtio, scsi, ide", b)
		}
	}
	for i, f := range r.Test.Firmware {
		if f != BIOS && f != UEFI {
			return fail([]string{"test", "firmware", fmt.Sprint(i)}, "%q is neither bios nor uefi", f)
		}
	}
	switch t := r.Trust; {
	case (t.SHA1 != "" || t.ExpiredKeys != "") && strings.TrimSpace(t.Reason) == "":
		return fail([]string{"trust"}, "a reason must be given for what it allows")
	case t.SHA1 == "" && t.ExpiredKeys == "" && t.Reason != "":
		return fail([]string{"trust", "reason"}, "it is a reason for nothing: neither sha1 nor expired-keys is allowed")
	}
	for i, k := range r.Publish.Kinds {
		at := []string{"publish", "kinds", fmt.Sprint(i)}
		size, _ := Bytes(r.Disk.Size) // checked above
		switch {
		case k != EBS && k != InstanceStore:
			return fail(at, "%q is neither %s nor %s", k, EBS, InstanceStore)
		case k == InstanceStore && (r.Arch != "x86_64" || r.Disk.Firmware == UEFI):
			return fail(at, "the machines that start from instance store are x86_64 and boot under BIOS")
		case k == InstanceStore && size > maxInstanceStore:
			return fail([]string{"disk", "size"}, "%s is more than the 10 GiB that the root of an instance store-backed AMI can have", r.Disk.Size)
		}
	}
	if _, err := Age(r.Publish.Deprecate); err != nil {
		return fail([]string{"publish", "deprecate"}, "%v", err)
	}
	switch p := r.Publish; {
	case p.Public && p.Encrypt:
		return fail([]string{"publish", "encrypt"}, "an encrypted AMI cannot be public")
	case p.TPM && r.Disk.Firmware != UEFI:
		return fail([]string{"publish", "tpm"}, "only instances that boot through UEFI alone have a TPM (disk: {firmware: uefi})")
	case p.Smoke.On() && len(p.Kinds) > 0 && !slices.Contains(p.Kinds, EBS):
		return fail([]string{"publish", "smoke"}, "only EBS-backed AMIs are launched, and kinds has none")
	case p.Smoke.Subnet != "" && p.Smoke.Regions == SmokeEach:
		return fail([]string{"publish", "smoke", "subnet"}, "it is in one region, and each is to launch the AMI")
	}
	names := map[string]bool{}
	for i, repo := range r.Repositories {
		if names[repo.Name] {
			return fail([]string{"repositories", fmt.Sprint(i), "name"}, "%q stands twice", repo.Name)
		}
		names[repo.Name] = true
	}
	if err := r.checkModules(fail); err != nil {
		return err
	}
	return r.checkAUR(fail)
}

// Refuse returns an error of kind Input about a value of the recipe, for whoever knows more of it than this package. The value
// is named by keys and indexes with dots between them (repositories.0.first); its line and column are told.
func (r *Recipe) Refuse(value, format string, args ...any) error {
	why := fmt.Sprintf(format, args...)
	if r.source == nil { // it was not read from a file
		return fault.Newf(fault.Input, "%s: %s: %s", r.Path, value, why)
	}
	at, path := locate(r.source, strings.Split(value, "."))
	return at.errorf("%s: %s", path, why)
}

// Asked returns the digest of the parts of the recipe that resolution depends on.
func (r *Recipe) Asked() string {
	return digest(struct {
		Distro, Release, Arch string
		Mirrors               []string
		Keys                  []Key
		Repositories          []Repository
		Packages              Packages
		Kernel                string
		Trust                 Trust             `json:",omitzero"`
		AUR                   []AURPackage      `json:",omitempty"`
		Contents              map[string]string `json:",omitempty"`
		Modules               []Module          `json:",omitempty"`
		Patches               map[string]string `json:",omitempty"`
	}{r.Distro, r.Release, r.Arch, nil, r.Keys, r.Repositories, r.Packages, r.Kernel.Package, r.Trust, r.AUR, r.contents(), r.Modules, r.patches()})
}

// Digest returns the digest of the whole recipe, the content of the files it names included.
func (r *Recipe) Digest() (string, error) {
	sources := map[string]string{}
	for _, f := range r.Files {
		if f.Source != "" {
			sources[f.Source] = ""
		}
	}
	for _, s := range r.Scripts {
		if s.Source != "" {
			sources[s.Source] = ""
		}
	}
	for name := range sources {
		data, err := os.ReadFile(r.Resolve(name))
		if err != nil {
			return "", fault.New(fault.Input, fmt.Errorf("reading %s of recipe %s: %w", name, r.Path, err), "")
		}
		sum := sha256.Sum256(data)
		sources[name] = hex.EncodeToString(sum[:])
	}
	return digest(struct {
		Recipe   *Recipe
		Sources  map[string]string
		Contents map[string]string
		Patches  map[string]string `json:",omitempty"`
	}{r, sources, r.contents(), r.patches()}), nil
}

// Resolve returns the path of a file that the recipe names.
func (r *Recipe) Resolve(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.Dir, name)
}

func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // recipes hold nothing that JSON cannot write
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
