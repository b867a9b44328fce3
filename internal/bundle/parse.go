package bundle

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ingot/internal/fault"
)

// Parse reads a manifest in the dialect of ec2-ami-tools or of euca2ools, of version 2007-10-10, 2007-08-29 or 3,
// pretty-printed or not. It refuses what no bundler writes and an attacker might: document types and entities
// of their own, elements that are there twice, part names with a path, counts that do not agree. It does not
// verify the signature.
func Parse(text []byte) (*Manifest, error) {
	m, err := parse(text)
	if err != nil {
		var known *fault.Error
		if errors.As(err, &known) {
			return nil, err
		}
		return nil, fault.New(fault.Input, fmt.Errorf("reading the bundle's manifest: %w", err), "")
	}
	return m, nil
}

// parser walks a document. Text is collected per element; a leaf's text is stored when the leaf ends.
type parser struct {
	dec    *xml.Decoder
	m      *Manifest
	text   []byte
	stack  []frame
	ranges map[string][2]int64 // where the elements below the root that a signature covers start and end
	count  int                 // what the parts' attribute count says, -1 without one
}

type frame struct {
	name  string
	start int64
	leaf  []byte
	seen  map[string]bool
}

// several elements may stand beside others of their name; of all others there is one.
var several = map[string]bool{"mapping": true, "product_code": true, "ancestor_ami_id": true, "part": true}

// maxDepth is one more than the deepest path of the format, manifest/image/parts/part/digest.
const maxDepth = 6

func parse(text []byte) (*Manifest, error) {
	if len(text) > maxManifest {
		return nil, fmt.Errorf("it has %d bytes; more than %d are refused", len(text), maxManifest)
	}
	p := &parser{dec: xml.NewDecoder(bytes.NewReader(text)), m: &Manifest{}, text: text,
		stack: []frame{{seen: map[string]bool{}}}, ranges: map[string][2]int64{}, count: -1}
	p.dec.CharsetReader = func(label string, r io.Reader) (io.Reader, error) {
		if l := strings.ToUpper(label); l != "ASCII" && l != "US-ASCII" {
			return nil, fmt.Errorf("it is encoded in %s; known are UTF-8 and ASCII", label)
		}
		return r, nil // a subset of UTF-8
	}
	for {
		before := p.dec.InputOffset()
		token, err := p.dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = p.take(token, before)
		}
		if err != nil {
			return nil, err
		}
	}
	if !p.stack[0].seen["manifest"] {
		return nil, errors.New("it has no element manifest")
	}
	if p.count != len(p.m.Parts) {
		return nil, fmt.Errorf("it counts %d parts and lists %d", p.count, len(p.m.Parts))
	}
	for _, name := range []string{"machine_configuration", "image"} {
		if r, ok := p.ranges[name]; ok {
			p.m.signed = append(p.m.signed, text[r[0]:r[1]]...)
		}
	}
	return p.m, p.m.check()
}

func (p *parser) take(token xml.Token, before int64) error {
	top := &p.stack[len(p.stack)-1]
	switch t := token.(type) {
	case xml.Directive:
		return errors.New("it has a document type or another directive, which no manifest needs")
	case xml.CharData:
		top.leaf = append(top.leaf, t...)
	case xml.StartElement:
		name := t.Name.Local
		switch {
		case len(p.stack) > maxDepth:
			return fmt.Errorf("elements are nested more than %d deep", maxDepth)
		case top.seen[name] && !several[name]:
			return fmt.Errorf("the element %s is there twice", p.path(name))
		case len(p.stack) == 1 && name != "manifest":
			return fmt.Errorf("its root is %q, not manifest", name)
		}
		top.seen[name] = true
		p.stack = append(p.stack, frame{name: name, start: before, seen: map[string]bool{}})
		return p.begin(t)
	case xml.EndElement:
		path, leaf := p.path(""), strings.TrimSpace(string(top.leaf))
		if len(p.stack) == 3 {
			p.ranges[top.name] = [2]int64{top.start, p.dec.InputOffset()}
		}
		p.stack = p.stack[:len(p.stack)-1]
		return p.end(path, leaf)
	}
	return nil
}

// path returns the path of the open element, or of one in it.
func (p *parser) path(last string) string {
	var b strings.Builder
	for _, f := range p.stack[1:] {
		b.WriteString(f.name + "/")
	}
	return strings.TrimSuffix(b.String()+last, "/")
}

func (p *parser) begin(t xml.StartElement) (err error) {
	m, path := p.m, p.path("")
	switch path {
	case "manifest/machine_configuration/block_device_mapping/mapping":
		m.BlockDevices = append(m.BlockDevices, BlockDevice{})
	case "manifest/image/parts/part":
		if len(m.Parts) == maxParts {
			return fmt.Errorf("it lists more than %d parts", maxParts)
		}
		if index, ok := attribute(t, "index"); ok && index != strconv.Itoa(len(m.Parts)) {
			return fmt.Errorf("part %d has the index %q", len(m.Parts), index)
		}
		m.Parts = append(m.Parts, Part{})
	case "manifest/image/parts":
		count, _ := attribute(t, "count")
		if p.count, err = strconv.Atoi(count); err != nil {
			return fmt.Errorf("it counts %q parts", count)
		}
	case "manifest/image/digest", "manifest/image/parts/part/digest":
		if a, ok := attribute(t, "algorithm"); ok && !strings.EqualFold(a, "SHA1") {
			return fmt.Errorf("%s is made with %q; known is SHA1", path, a)
		}
	case "manifest/image/ec2_encrypted_key", "manifest/image/user_encrypted_key":
		if a, ok := attribute(t, "algorithm"); ok && !strings.EqualFold(a, "AES-128-CBC") {
			return fmt.Errorf("%s is for %q; known is AES-128-CBC", path, a)
		}
	}
	return nil
}

func attribute(t xml.StartElement, name string) (string, bool) {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value, true
		}
	}
	return "", false
}

func (p *parser) end(path, text string) (err error) {
	m := p.m
	size := func() (n int64) {
		if n, err = strconv.ParseInt(text, 10, 64); err != nil {
			err = fmt.Errorf("%s is %q, not a number of bytes", path, text)
		}
		return n
	}
	switch path {
	case "manifest/version":
		m.Version = text
	case "manifest/bundler/name":
		m.Bundler.Name = text
	case "manifest/bundler/version":
		m.Bundler.Version = text
	case "manifest/bundler/release":
		m.Bundler.Release = text
	case "manifest/machine_configuration/architecture":
		m.Architecture = text
	case "manifest/machine_configuration/block_device_mapping/mapping/virtual":
		m.BlockDevices[len(m.BlockDevices)-1].Virtual = text
	case "manifest/machine_configuration/block_device_mapping/mapping/device":
		m.BlockDevices[len(m.BlockDevices)-1].Device = text
	case "manifest/machine_configuration/kernel_id":
		m.KernelID = text
	case "manifest/machine_configuration/ramdisk_id":
		m.RamdiskID = text
	case "manifest/machine_configuration/product_codes/product_code":
		m.ProductCodes = append(m.ProductCodes, text)
	case "manifest/image/name":
		m.Name = text
	case "manifest/image/user":
		m.User = text
	case "manifest/image/type":
		m.Type = Type(text)
	case "manifest/image/kernel_name":
		m.KernelName = text
	case "manifest/image/ancestry/ancestor_ami_id":
		m.Ancestors = append(m.Ancestors, text)
	case "manifest/image/digest":
		m.Digest = text
	case "manifest/image/size":
		m.Size = size()
	case "manifest/image/bundled_size":
		m.BundledSize = size()
	case "manifest/image/ec2_encrypted_key":
		m.EC2.Key = text
	case "manifest/image/user_encrypted_key":
		m.UserKeys.Key = text
	case "manifest/image/ec2_encrypted_iv":
		m.EC2.IV = text
	case "manifest/image/user_encrypted_iv":
		m.UserKeys.IV = text
	case "manifest/image/parts/part/filename":
		m.Parts[len(m.Parts)-1].Name = text
	case "manifest/image/parts/part/digest":
		m.Parts[len(m.Parts)-1].Digest = text
	case "manifest/signature":
		m.Signature = text
	}
	return err
}
