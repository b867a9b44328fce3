package bundle

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Encode returns the manifest as ec2-ami-tools writes it: one line, no space between elements, attributes in
// single quotes, no newline at the end. EC2's tools check a signature over what they would have written
// themselves, so this form is the only one that all of them verify.
func (m *Manifest) Encode() []byte {
	d := &document{}
	d.WriteString("<?xml version='1.0'?>")
	d.element("manifest", func() {
		d.text("version", m.Version)
		d.element("bundler", func() {
			d.text("name", m.Bundler.Name)
			d.text("version", m.Bundler.Version)
			d.text("release", m.Bundler.Release)
		})
		d.Write(m.canonical())
		d.text("signature", m.Signature)
	})
	return d.Bytes()
}

// canonical returns the part of the encoded manifest that a signature covers: machine_configuration, directly
// followed by image.
func (m *Manifest) canonical() []byte {
	d := &document{}
	d.element("machine_configuration", func() {
		d.text("architecture", m.Architecture)
		d.element("block_device_mapping", func() {
			byVirtual := func(a, b BlockDevice) int { return cmp.Compare(a.Virtual, b.Virtual) }
			for _, b := range slices.SortedStableFunc(slices.Values(m.BlockDevices), byVirtual) {
				d.element("mapping", func() {
					d.text("virtual", b.Virtual)
					d.text("device", b.Device)
				})
			}
		})
		d.text("kernel_id", m.KernelID)
		d.text("ramdisk_id", m.RamdiskID)
		d.list("product_codes", "product_code", m.ProductCodes)
	})
	d.element("image", func() {
		d.text("name", m.Name)
		d.text("user", m.User)
		d.text("type", string(m.Type))
		d.text("kernel_name", m.KernelName)
		d.list("ancestry", "ancestor_ami_id", m.Ancestors)
		d.text("digest", m.Digest, "algorithm", "SHA1")
		d.text("size", strconv.FormatInt(m.Size, 10))
		d.text("bundled_size", strconv.FormatInt(m.BundledSize, 10))
		d.text("ec2_encrypted_key", m.EC2.Key, "algorithm", "AES-128-CBC")
		d.text("user_encrypted_key", m.UserKeys.Key, "algorithm", "AES-128-CBC")
		d.text("ec2_encrypted_iv", m.EC2.IV)
		d.text("user_encrypted_iv", m.UserKeys.IV)
		d.element("parts", func() {
			for i, p := range m.Parts {
				d.element("part", func() {
					d.text("filename", p.Name)
					d.text("digest", p.Digest, "algorithm", "SHA1")
				}, "index", strconv.Itoa(i))
			}
		}, "count", strconv.Itoa(len(m.Parts)))
	})
	return d.Bytes()
}

// document is XML in the making. An element without content is left out.
type document struct{ bytes.Buffer }

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")

func (d *document) element(name string, content func(), attributes ...string) {
	before := d.Len()
	d.WriteString("<" + name)
	for i := 0; i < len(attributes); i += 2 {
		d.WriteString(" " + attributes[i] + "='" + escape.Replace(attributes[i+1]) + "'")
	}
	d.WriteString(">")
	start := d.Len()
	content()
	if d.Len() == start {
		d.Truncate(before)
		return
	}
	d.WriteString("</" + name + ">")
}

func (d *document) text(name, value string, attributes ...string) {
	d.element(name, func() { d.WriteString(escape.Replace(value)) }, attributes...)
}

func (d *document) list(name, item string, values []string) {
	d.element(name, func() {
		for _, v := range values {
			d.text(item, v)
		}
	})
}
