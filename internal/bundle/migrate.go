package bundle

import (
	"crypto/rsa"
	"fmt"

	"ingot/internal/fault"
)

// kernels are the ids of one and the same kernel in each region: PV-GRUB 1.05 for x86_64, which starts the kernel inside
// a paravirtual image. Ids of other kernels are not translated.
var kernels = map[string]string{
	"ap-northeast-1": "aki-7077ab11", "ap-southeast-1": "aki-73a50110", "ap-southeast-2": "aki-66506305", "eu-central-1": "aki-931fe3fc",
	"eu-west-1": "aki-dc9ed9af", "sa-east-1": "aki-912fbcfd", "us-east-1": "aki-5c21674b", "us-gov-west-1": "aki-9ee55bff",
	"us-west-1": "aki-59cc8239", "us-west-2": "aki-70cb0e10",
}

// Migration says what changes in a bundle's manifest when it goes to another region.
type Migration struct {
	Key    *rsa.PrivateKey // the user's
	EC2    *rsa.PublicKey  // of the region; see EC2Certificate
	Region string          // whose kernels there are; "" is any, for which KernelID and RamdiskID are given
	// KernelID and RamdiskID replace those that the manifest has. Both belong to one region; without them, only the
	// kernel that every region has is replaced by the region's own.
	KernelID, RamdiskID string
	Drop                bool // leave out a kernel and a ramdisk that nothing replaces
	AnySignature        bool // take a manifest that is unsigned, or that was edited after signing
}

// Migrate changes the manifest for another region: it encrypts the bundle's key anew, for EC2 there and for the user,
// names the kernel and ramdisk that are there, and signs the whole. The parts stay what they are.
func (m *Manifest) Migrate(o Migration) error {
	fail := func(err error) error { return fmt.Errorf("migrating the bundle %s: %w", m.Name, err) }
	if !o.AnySignature {
		if err := m.Verify(&o.Key.PublicKey); err != nil {
			return fail(err)
		}
	}
	secret, err := m.Secret(o.Key)
	if err != nil {
		return fail(err)
	}
	kernel, ramdisk, err := o.ids(m)
	if err != nil {
		return fail(err)
	}
	user, err := secret.wrap(&o.Key.PublicKey)
	if err != nil {
		return fail(err)
	}
	cloud, err := secret.wrap(o.EC2)
	if err != nil {
		return fail(err)
	}
	m.UserKeys, m.EC2, m.KernelID, m.RamdiskID = user, cloud, kernel, ramdisk
	if err := m.check(); err != nil {
		return fail(err)
	}
	return m.Sign(o.Key)
}

func (o *Migration) ids(m *Manifest) (kernel, ramdisk string, err error) {
	if kernel = o.KernelID; kernel == "" && m.KernelID != "" {
		for _, id := range kernels {
			if id == m.KernelID {
				kernel = kernels[o.Region]
			}
		}
	}
	ramdisk = o.RamdiskID
	for _, f := range []struct{ what, old, new string }{{"kernel", m.KernelID, kernel}, {"ramdisk", m.RamdiskID, ramdisk}} {
		if f.old != "" && f.new == "" && !o.Drop {
			return "", "", fault.New(fault.Input, fmt.Errorf("its manifest names the %s %s, which other regions do not have", f.what, f.old),
				"name the "+f.what+" of the region")
		}
		if f.new != "" && !word.MatchString(f.new) {
			return "", "", fault.Newf(fault.Usage, "%q is not the id of a %s", f.new, f.what)
		}
	}
	return kernel, ramdisk, nil
}
