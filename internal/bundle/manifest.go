package bundle

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"ingot/internal/fault"
)

// Version is the version of the manifests that this package writes.
const Version = "2007-10-10"

// Type says what an image is.
type Type string

const (
	Machine Type = "machine"
	Kernel  Type = "kernel"
	Ramdisk Type = "ramdisk"
)

// Manifest describes a bundle. Empty strings and lists stand for elements that are absent.
type Manifest struct {
	Version      string // "2007-10-10"; "2007-08-29" and "3" are read
	Bundler      Bundler
	Architecture string        // "i386", "x86_64"; EC2 takes others, too
	BlockDevices []BlockDevice // written in the order of their virtual names
	KernelID     string
	RamdiskID    string
	ProductCodes []string

	Name       string // the prefix of the parts' names
	User       string // the AWS account that owns the image, 12 digits
	Type       Type
	KernelName string   // of a Kernel only, and then mandatory
	Ancestors  []string // AMI ids, the images that this one was made from

	Digest      string // SHA-1 of the tar stream (not of the image), in hexadecimal
	Size        int64  // of the raw image, in bytes
	BundledSize int64  // of all parts, in bytes
	EC2         Wrapped
	UserKeys    Wrapped
	Parts       []Part

	Signature string // hexadecimal; see Verify

	signed []byte // what a document that was read says between the tags that a signature covers
}

// Bundler names the program that made a bundle.
type Bundler struct{ Name, Version, Release string }

// BlockDevice maps a virtual name (ami, root, swap, ephemeralN) to a device (sda1, /dev/sdb).
type BlockDevice struct{ Virtual, Device string }

// Wrapped is the key and the IV of a bundle, encrypted for one recipient, in hexadecimal.
type Wrapped struct{ Key, IV string }

// Part is one piece of the encrypted stream.
type Part struct {
	Name   string // a plain file name
	Digest string // SHA-1 of the part as it is, encrypted, in hexadecimal
}

var (
	account = regexp.MustCompile(`^[0-9]{12}$`)
	word    = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9._/-]{0,127}$`) // ids, device names, architectures
)

// Account returns an AWS account id as manifests have it: 12 digits. Hyphens are left out, as people write them.
func Account(s string) (string, error) {
	digits := strings.ReplaceAll(s, "-", "")
	if !account.MatchString(digits) {
		return "", fault.New(fault.Usage, fmt.Errorf("%q is not an AWS account id", s),
			"it has 12 digits, as `aws sts get-caller-identity` prints it; it is neither an access key nor a user name")
	}
	return digits, nil
}

// plainName tells whether s can be the name of a file in any directory, and nothing else.
func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= 255 && utf8.ValidString(s) &&
		!strings.ContainsAny(s, `/\`) && !strings.ContainsFunc(s, unicode.IsControl)
}

func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 20
}

// check tells what in a manifest contradicts the format, so that nothing that uses one has to ask again.
func (m *Manifest) check() error {
	bad := func(format string, args ...any) error {
		return fault.Newf(fault.Input, "the bundle's manifest "+format, args...)
	}
	switch {
	case m.Version != Version && m.Version != "2007-08-29" && m.Version != "3":
		return bad("has the version %q; known are %s, 2007-08-29 and 3", m.Version, Version)
	case !plainName(m.Name):
		return bad("names the image %q, which is not a plain file name", m.Name)
	case !account.MatchString(m.User):
		return bad("has %q as its user, which is not an account id of 12 digits", m.User)
	case m.Type != "" && m.Type != Machine && m.Type != Kernel && m.Type != Ramdisk:
		return bad("has the type %q; known are machine, kernel and ramdisk", m.Type)
	case (m.KernelName != "") != (m.Type == Kernel):
		return bad("has the type %q and the kernel name %q: a kernel has a name, others have none", m.Type, m.KernelName)
	case !isDigest(m.Digest):
		return bad("has no SHA-1 digest of the image")
	case m.Size <= 0 || m.BundledSize <= 0:
		return bad("says that the image has %d bytes, and the bundle %d", m.Size, m.BundledSize)
	case len(m.Parts) == 0 || len(m.Parts) > maxParts:
		return bad("has %d parts; between 1 and %d are allowed", len(m.Parts), maxParts)
	}
	seen := make(map[string]bool, len(m.Parts))
	for i, p := range m.Parts {
		switch {
		case !plainName(p.Name):
			return bad("names part %d %q, which is not a plain file name", i, p.Name)
		case seen[p.Name]:
			return bad("names the part %s twice", p.Name)
		case !isDigest(p.Digest):
			return bad("has no SHA-1 digest of the part %s", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}
