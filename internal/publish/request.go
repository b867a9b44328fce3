package publish

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/ledger"
)

// Tags that every snapshot and image of ours has, beside those of the request.
const (
	TagContent = "ingot:content" // digest of the volume's size and blocks, in hexadecimal
	TagImage   = "ingot:image"   // the image's name
	TagRun     = "ingot:run"     // the run that made it
	TagSeries  = "ingot:series"  // what the image is a version of
	TagParent  = "ingot:parent"  // of a snapshot: the one that it is based on
	TagVolume  = "ingot:volume"  // the volume that it was made of
	TagExpires = "ingot:expires" // when it may be removed (RFC 3339); taken away when a release owns it
)

// Life is how long what a run makes is left in peace before a release owns it.
const Life = 48 * time.Hour

// How long an image may go without being deprecated.
const (
	longestLife       = 10 * 365 * 24 * time.Hour
	longestPublicLife = 2 * 365 * 24 * time.Hour
)

const gib = 1 << 30

// Ledger is where everything is written down before it is made: a *ledger.Ledger.
type Ledger interface {
	Intend(context.Context, ledger.Entry) (ledger.Entry, error)
	Made(ctx context.Context, k ledger.Key, id string) error
	Keep(ctx context.Context, k ledger.Key, release string) error
	Gone(context.Context, ledger.Key) error
	Find(context.Context, ledger.Key) (e ledger.Entry, found bool, err error)
	List(context.Context, ledger.Filter) ([]ledger.Entry, error)
}

// Request says what to publish.
type Request struct {
	Disk        string    // path of the raw image
	Map         *disk.Map // of the image: the blocks to send
	Name        string    // of the AMI; unique in the account and region
	Description string
	Arch        string            // x86_64 or arm64
	BootMode    string            // legacy-bios, uefi or uefi-preferred
	ENA         bool              // the image has a driver for it
	TPM         bool              // give instances a TPM 2.0; for images that boot through UEFI alone
	RootDevice  string            // default /dev/xvda
	VolumeSize  int64             // GiB; default: the least that holds the image
	Tags        map[string]string // of the image and its snapshot
	Store       *Store            // not nil: the image is backed by instance store, and Disk is not read
	Volume      string            // an EBS volume in the first region that `ingot install` has written the image to: its snapshot is taken, and no block sent
	Host        Host              // the instance that makes and fills the volume, if that is NewVolume

	Regions    []string
	BestEffort []string // those of them whose failure is no failure of the whole
	Copy       bool     // send the blocks to the first region alone, and have EC2 copy the image to the others
	Replace    bool     // an image of the same name and other content
	Material   bool     // make what the images are registered from (snapshots, bundles), and register none yet

	Encrypt bool              // the snapshots
	Keys    map[string]string // ARN of the KMS key by region; "", or none: the account's default one

	Public        bool
	Accounts      []string      // that may launch it
	Organizations []string      // as the former; ARNs of organizations and organizational units
	ShareSnapshot bool          // the snapshot too, so that others can copy the image; if Public, deltas are off
	Parameters    []string      // names in SSM's parameter store that are to hold the image's id
	Deprecate     time.Duration // how long after its creation the image is deprecated; 0: EC2's default, which is two years if it is public
	Protect       bool          // from deregistration

	Series  string // what the image is a version of: "debian-12 x86_64"; "": no deltas
	Maps    *Maps  // block maps of earlier images; nil: no deltas
	Ledger  Ledger
	Release string           // of the catalogue, that is to own what is made
	RunID   string           // default: one made up
	Now     func() time.Time // default: time.Now
	Task    *progress.Task   // may be nil; counts bytes in a task for each region
}

var (
	imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]{3,128}$`)
	account   = regexp.MustCompile(`^[0-9]{12}$`)
	// arn is of an organization, a unit of it, or a KMS key.
	orgARN = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:(organization/o-[a-z0-9]{10,32}|ou/o-[a-z0-9]{10,32}/ou-[a-z0-9-]{1,68})$`)
	keyARN = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$`)
	// parameter is a name of SSM's parameter store.
	parameter = regexp.MustCompile(`^/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){0,14}$`)
	// formats are image formats that somebody might take for a raw image, by their first bytes.
	formats = map[string]string{"QFI\xfb": "qcow2", "conectix": "VHD", "KDMV": "VMDK", "vhdxfile": "VHDX", "# Disk De": "VMDK", "\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd"}
)

// Complete fills in the defaults and refuses, with fault.Input, what no AWS would take, before anything is done.
func (r *Request) Complete() error {
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.RunID == "" {
		r.RunID = rand.Text()
	}
	if r.RootDevice == "" {
		r.RootDevice = "/dev/xvda"
	}
	if r.VolumeSize == 0 {
		r.VolumeSize = r.least()
	}
	if r.Store != nil {
		if err := r.Store.check(r); err != nil {
			return err
		}
	}
	for _, check := range []func() error{r.checkImage, r.checkRegions, r.checkVolume, r.checkSharing} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// least is the size in GiB of the smallest volume that holds the image.
func (r *Request) least() int64 { return (r.Map.Size + gib - 1) / gib }

func (r *Request) checkImage() error {
	switch {
	case !imageName.MatchString(r.Name):
		return fault.New(fault.Input, fmt.Errorf("%q cannot be the name of an AMI", r.Name),
			"use 3 to 128 letters, digits, spaces and ()[]./-'@_")
	case r.Arch != "x86_64" && r.Arch != "arm64":
		return fault.Newf(fault.Input, "architecture %q is not x86_64 or arm64", r.Arch)
	case !slices.Contains([]string{"legacy-bios", "uefi", "uefi-preferred"}, r.BootMode):
		return fault.Newf(fault.Input, "boot mode %q is not legacy-bios, uefi or uefi-preferred", r.BootMode)
	case r.Arch == "arm64" && r.BootMode != "uefi":
		return fault.Newf(fault.Input, "arm64 images boot through uefi, not %s", r.BootMode)
	case r.Arch == "arm64" && !r.ENA:
		return fault.Newf(fault.Input, "arm64 instances have no other network card than ENA, and the image has no driver for it")
	case r.TPM && r.BootMode != "uefi":
		return fault.New(fault.Input, fmt.Errorf("instances of an image whose boot mode is %s have no TPM", r.BootMode), "make it boot through UEFI alone: disk: {firmware: uefi}")
	case len(r.Description) > 255:
		return fault.Newf(fault.Input, "the description is longer than 255 characters")
	case r.VolumeSize < r.least():
		return fault.Newf(fault.Input, "a volume of %d GiB does not hold an image of %d GiB", r.VolumeSize, r.least())
	case len(r.Map.Blocks) == 0:
		return fault.Newf(fault.Input, "the image's block map is empty")
	case r.Ledger == nil:
		return errors.New("there is no ledger to write down what is made")
	}
	return nil
}

func (r *Request) checkRegions() error {
	if len(r.Regions) == 0 {
		return fault.New(fault.Input, errors.New("no region is named"), "name one with --region or in publish: of the recipe")
	}
	seen := map[string]bool{}
	for _, name := range r.Regions {
		switch {
		case seen[name]:
			return fault.Newf(fault.Input, "region %s is named twice", name)
		case r.Copy && Partition(name) != Partition(r.Regions[0]):
			return fault.New(fault.Input, fmt.Errorf("images cannot be copied from %s to %s", r.Regions[0], name), "publish to each partition by itself, or without copying")
		case r.Copy && r.Encrypt && name != r.Regions[0] && r.Keys[name] == "" && r.Keys[r.Regions[0]] != "":
			return fault.Newf(fault.Input, "a copy in %s would be encrypted with the account's default key, but the original is not: name a key for that region", name)
		}
		seen[name] = true
	}
	if r.Copy && r.Store != nil {
		return fault.New(fault.Input, errors.New("copies of instance store-backed images are not made"), "publish them without copying: the bundle is uploaded to each region")
	}
	for name, key := range r.Keys {
		if key != "" && (!keyARN.MatchString(key) || !strings.Contains(key, ":"+name+":")) {
			return fault.Newf(fault.Input, "%q is not the ARN of a KMS key in %s", key, name)
		}
	}
	return nil
}

// checkSharing refuses what would make an image that others may launch, but cannot.
func (r *Request) checkSharing() error {
	shared := r.Public || len(r.Accounts)+len(r.Organizations) > 0
	switch {
	case r.Public && r.Encrypt:
		return fault.New(fault.Input, errors.New("an encrypted image cannot be public"), "leave out either: who launches it can encrypt the volume")
	case r.Encrypt && r.Store != nil:
		return fault.Newf(fault.Input, "there is no encryption for instance store-backed images")
	case len(r.Keys) > 0 && !r.Encrypt:
		return fault.Newf(fault.Input, "keys are named for an image that is not to be encrypted")
	case r.Deprecate < 0, r.Deprecate > longestLife, r.Public && r.Deprecate > longestPublicLife:
		return fault.Newf(fault.Input, "an image is deprecated within ten years of its creation, and a public one within two: not after %s", r.Deprecate)
	}
	for _, region := range r.Regions {
		if shared && r.Encrypt && r.Keys[region] == "" {
			return fault.New(fault.Input, fmt.Errorf("in %s the image would be encrypted with a key that AWS manages, which other accounts cannot use", region),
				"name a KMS key of yours for the region, and let those accounts use it")
		}
	}
	for _, a := range r.Accounts {
		if !account.MatchString(a) {
			return fault.Newf(fault.Input, "%q is not the number of an account", a)
		}
	}
	for _, o := range r.Organizations {
		if !orgARN.MatchString(o) {
			return fault.Newf(fault.Input, "%q is not the ARN of an organization or of a unit of one", o)
		}
	}
	for _, p := range r.Parameters {
		if len(p) > 1011 || !parameter.MatchString(p) {
			return fault.Newf(fault.Input, "%q cannot be the name of a parameter in SSM", p)
		}
	}
	return nil
}

// content returns the digest that tells images apart: of the volume's size, and of each block's place and sum. A volume that the image was
// installed on has another partition table than the image, where it is larger, and so other content.
func (r *Request) content() string {
	kind := ""
	switch {
	case r.Store != nil:
		kind = "instance store"
	case r.Volume != "":
		kind = "volume"
	}
	return digest(r.VolumeSize, r.Map, kind)
}

func digest(volumeSize int64, m *disk.Map, kind string) string {
	h := sha256.New()
	h.Write([]byte(kind))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(volumeSize)))
	for _, b := range m.Blocks {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(b.Index)))
		h.Write(b.SHA256[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// open opens the image and refuses what is not the raw image that the map is of.
func (r *Request) open() (*os.File, error) {
	f, err := os.Open(r.Disk)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		head := make([]byte, 16)
		_, err = f.ReadAt(head, 0)
		for magic, name := range formats {
			if string(head[:min(len(magic), len(head))]) == magic {
				err = fault.New(fault.Input, fmt.Errorf("%s is a %s file, not a raw image", r.Disk, name), "convert it with `qemu-img convert -O raw`")
			}
		}
	}
	if err == nil && info.Mode().IsRegular() && info.Size() != r.Map.Size {
		err = fault.Newf(fault.Input, "%s has %d bytes, but its block map is of %d", r.Disk, info.Size(), r.Map.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
