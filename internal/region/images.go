package region

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	imageAvailable    = "available"
	imageFailed       = "failed" // its bundle is not what its manifest says
	imageDisabled     = "disabled"
	imageDeregistered = "deregistered" // kept, so that deregistering it twice is told from an id that never was
)

// image is an AMI.
type image struct {
	ID, Name, Description     string
	Architecture              string // i386, x86_64, arm64
	Virtualization            string // hvm, paravirtual
	BootMode                  string // "", legacy-bios, uefi, uefi-preferred
	RootDevice                string
	Location                  string // of the manifest in S3, of an image that is backed by instance store
	Reason                    string // why it failed
	TPM, IMDS, Sriov          string // "" or the one value each can have
	UefiData                  string // a variable store, in base64
	ENA                       bool
	Mappings                  []mapping
	State                     string
	Created                   time.Time
	permissions               // to launch it
	Tags                      map[string]string
	Ready                     time.Time // when a pending image is available; zero: when its bundle has been read
	Fails                     bool      // instead
	Deprecation, LastLaunch   time.Time
	Protected                 bool          // from being deregistered
	Cooldown                  time.Duration // for which protection outlives its end
	Unprotected               time.Time     // when it ends, or ended, once it was taken away
	SourceImage, SourceRegion string        // of a copy
	Token, Request            string        // the client token and the digest of the parameters it came with
}

// mapping is a block device of an image.
type mapping struct {
	Device, Virtual string
	EBS             *volumeSpec
}

// volumeSpec is the volume that a block device of a new instance gets.
type volumeSpec struct {
	Snapshot            string
	Size                int64 // GiB
	Type                string
	IOPS, Throughput    int32
	DeleteOnTermination bool
	Encrypted           bool
	KmsKey              string // that encrypts it; "": the managed one, or none
}

// registered tells whether the image is there for anybody to see.
func (i *image) registered() bool { return i.State != imageDeregistered }

// root returns the volume of the root device.
func (i *image) root() *volumeSpec {
	for _, m := range i.Mappings {
		if m.Device == i.RootDevice {
			return m.EBS
		}
	}
	return nil
}

type ebsXML struct {
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
	IOPS                int32  `xml:"iops,omitempty"`
	Snapshot            string `xml:"snapshotId,omitempty"`
	Size                int64  `xml:"volumeSize"`
	Type                string `xml:"volumeType"`
	Throughput          int32  `xml:"throughput,omitempty"`
	Encrypted           bool   `xml:"encrypted"`
}

type mappingXML struct {
	Device  string  `xml:"deviceName"`
	Virtual string  `xml:"virtualName,omitempty"`
	EBS     *ebsXML `xml:"ebs"`
}

type imageXML struct {
	ID              string           `xml:"imageId"`
	Location        string           `xml:"imageLocation"`
	State           string           `xml:"imageState"`
	Owner           string           `xml:"imageOwnerId"`
	Created         string           `xml:"creationDate"`
	Public          bool             `xml:"isPublic"`
	Architecture    string           `xml:"architecture"`
	Type            string           `xml:"imageType"`
	Sriov           string           `xml:"sriovNetSupport,omitempty"`
	Name            string           `xml:"name"`
	Description     string           `xml:"description,omitempty"`
	RootDeviceType  string           `xml:"rootDeviceType"`
	RootDevice      string           `xml:"rootDeviceName"`
	Mappings        list[mappingXML] `xml:"blockDeviceMapping"`
	Virtualization  string           `xml:"virtualizationType"`
	Tags            []tag            `xml:"tagSet>item,omitempty"`
	Hypervisor      string           `xml:"hypervisor"`
	ENA             *bool            `xml:"enaSupport"`
	BootMode        string           `xml:"bootMode,omitempty"`
	TPM             string           `xml:"tpmSupport,omitempty"`
	IMDS            string           `xml:"imdsSupport,omitempty"`
	Deprecation     string           `xml:"deprecationTime,omitempty"`
	PlatformDetails string           `xml:"platformDetails"`
	UsageOperation  string           `xml:"usageOperation"`
	StateReason     *reasonXML       `xml:"stateReason"`
	Protection      string           `xml:"deregistrationProtection"`
	LastLaunched    string           `xml:"lastLaunchedTime,omitempty"`
	SourceImage     string           `xml:"sourceImageId,omitempty"`
	SourceRegion    string           `xml:"sourceImageRegion,omitempty"`
}

func (i *image) mappingsXML() []mappingXML {
	var out []mappingXML
	for _, m := range i.Mappings {
		x := mappingXML{Device: m.Device, Virtual: m.Virtual}
		if v := m.EBS; v != nil {
			x.EBS = &ebsXML{v.DeleteOnTermination, v.IOPS, v.Snapshot, v.Size, v.Type, v.Throughput, v.Encrypted}
		}
		out = append(out, x)
	}
	return out
}

func (a *area) imageXML(i *image) imageXML {
	x := imageXML{ID: i.ID, Location: a.r.opt.AccountID + "/" + i.Name, State: i.State, Owner: a.r.opt.AccountID, Created: stamp(i.Created),
		Public: i.Public, Architecture: i.Architecture, Type: "machine", Sriov: i.Sriov, Name: i.Name, Description: i.Description,
		RootDeviceType: "ebs", RootDevice: i.RootDevice, Mappings: list[mappingXML]{i.mappingsXML()}, Virtualization: i.Virtualization, Tags: tagSet(i.Tags),
		Hypervisor: "xen", BootMode: i.BootMode, TPM: i.TPM, IMDS: i.IMDS, PlatformDetails: "Linux/UNIX", UsageOperation: "RunInstances"}
	if i.ENA {
		x.ENA = &i.ENA
	}
	if i.Location != "" {
		x.Location, x.RootDeviceType = i.Location, "instance-store"
	}
	if i.Reason != "" {
		x.StateReason = &reasonXML{"Client.InvalidManifest", i.Reason}
	}
	if !i.Deprecation.IsZero() {
		x.Deprecation = stamp(i.Deprecation)
	}
	x.Protection, x.SourceImage, x.SourceRegion = i.protection(a.r.opt.Now()), i.SourceImage, i.SourceRegion
	if !i.LastLaunch.IsZero() {
		x.LastLaunched = stamp(i.LastLaunch)
	}
	return x
}

func (x imageXML) attr(name string) ([]string, bool) {
	flag := strconv.FormatBool
	one := map[string]string{"architecture": x.Architecture, "creation-date": x.Created, "description": x.Description,
		"ena-support": flag(x.ENA != nil), "hypervisor": x.Hypervisor, "image-id": x.ID, "image-type": x.Type, "is-public": flag(x.Public),
		"manifest-location": x.Location, "name": x.Name, "owner-id": x.Owner, "root-device-name": x.RootDevice,
		"root-device-type": x.RootDeviceType, "sriov-net-support": x.Sriov, "state": x.State, "virtualization-type": x.Virtualization,
		"boot-mode": x.BootMode, "imds-support": x.IMDS, "tpm-support": x.TPM, "source-image-id": x.SourceImage,
		"source-image-region": x.SourceRegion}
	if v, ok := one[name]; ok {
		return []string{v}, true
	}
	if field, ok := strings.CutPrefix(name, "block-device-mapping."); ok {
		return x.deviceAttr(field)
	}
	switch name { // an image of our own has none of these
	case "kernel-id", "ramdisk-id", "owner-alias", "platform", "product-code", "product-code.type":
		return nil, true
	}
	if reason := cmp.Or(x.StateReason, &reasonXML{}); name == "state-reason-code" {
		return []string{reason.Code}, true
	} else if name == "state-reason-message" {
		return []string{reason.Message}, true
	}
	return tagAttr(tagMap(x.Tags), name)
}

func (x imageXML) deviceAttr(field string) ([]string, bool) {
	var values []string
	for _, m := range append(x.Mappings.Items, mappingXML{EBS: &ebsXML{}}) { // the last says which fields there are
		e := cmp.Or(m.EBS, &ebsXML{})
		v, ok := map[string]string{"device-name": m.Device, "snapshot-id": e.Snapshot, "volume-size": strconv.FormatInt(e.Size, 10),
			"volume-type": e.Type, "delete-on-termination": strconv.FormatBool(e.DeleteOnTermination),
			"encrypted": strconv.FormatBool(e.Encrypted)}[field]
		if !ok {
			return nil, false
		}
		values = append(values, v)
	}
	return values[:len(x.Mappings.Items)], true
}

type describeImagesIn struct {
	dryRun
	paged
	ExecutableBy      []string `q:"ExecutableBy"`
	Filters           []filter `q:"Filter"`
	IDs               []string `q:"ImageId"`
	Owners            []string `q:"Owner"`
	IncludeDeprecated bool     `q:"IncludeDeprecated"`
	IncludeDisabled   bool     `q:"IncludeDisabled"`
}

type describeImagesOut struct {
	reply
	Images list[imageXML] `xml:"imagesSet"`
	Next   string         `xml:"nextToken,omitempty"`
}

func (a *area) describeImages(in *describeImagesIn) (*describeImagesOut, error) {
	for _, id := range in.IDs {
		if i, err := a.image(id); err != nil {
			return nil, err
		} else if !a.seen(i).registered() {
			return nil, notFound(id)
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	self := a.r.opt.AccountID
	var all []imageXML
	for id, i := range a.images.rows {
		i = a.seen(a.settled(i))
		executable := func(who string) bool {
			return who == "all" && i.Public || slices.Contains(i.Users, who) || who == "self" && slices.Contains(i.Users, self)
		}
		owned := func(who string) bool { return who == "self" || who == self }
		if a.visible(id) && i.registered() && (i.State != imageDisabled || in.IncludeDisabled) && has(in.IDs, id) &&
			(len(in.Owners) == 0 || slices.ContainsFunc(in.Owners, owned)) &&
			(len(in.ExecutableBy) == 0 || slices.ContainsFunc(in.ExecutableBy, executable)) {
			all = append(all, a.imageXML(i))
		}
	}
	all, err := choose(all, in.Filters, imageXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeImagesOut{}
	out.Images.Items, out.Next, err = page(a.r, "DescribeImages", in.paged, 1, len(in.IDs) > 0, all, func(x imageXML) string { return x.Created + x.ID })
	return out, err
}

// image returns an image by id, a deregistered one too.
func (a *area) image(id string) (*image, error) {
	if !validID("ami-", id) {
		return nil, errorf("InvalidAMIID.Malformed", "Invalid id: \"%.100s\" (expecting \"ami-...\")", id)
	}
	if i := a.images.rows[id]; i != nil && a.visible(id) {
		return a.settled(i), nil
	}
	return nil, notFound(id)
}

// owned returns an image that is registered, whatever its state.
func (a *area) owned(id string) (*image, error) {
	if id == "" {
		return nil, missing("ImageId")
	}
	i, err := a.image(id)
	if err == nil && !i.registered() {
		return nil, unavailable(id)
	}
	return i, err
}

// available returns an image that can be used.
func (a *area) available(id string) (*image, error) {
	i, err := a.owned(id)
	if err == nil && i.State != imageAvailable {
		return nil, unavailable(id)
	}
	return i, err
}

func unavailable(id string) error {
	return errorf("InvalidAMIID.Unavailable", "The image ID '%s' is not available, or no longer", id)
}

// validID says whether an id has the form of its kind: a prefix and 8 or 17 hexadecimal digits.
func validID(prefix, id string) bool {
	digits, ok := strings.CutPrefix(id, prefix)
	return ok && (len(digits) == 8 || len(digits) == 17) && strings.Trim(digits, "0123456789abcdef") == ""
}

type deregisterImageIn struct {
	dryRun
	ID              string `q:"ImageId"`
	DeleteSnapshots bool   `q:"DeleteAssociatedSnapshots"`
}

type deletedSnapshotXML struct {
	ID   string `xml:"snapshotId"`
	Code string `xml:"returnCode"`
}

type deregisterImageOut struct {
	done
	Deleted []deletedSnapshotXML `xml:"deleteSnapshotResultSet>item,omitempty"`
}

func (a *area) deregisterImage(in *deregisterImageIn) (*deregisterImageOut, error) {
	i, err := a.owned(in.ID)
	if err != nil {
		return nil, err
	}
	if p := i.protection(a.r.opt.Now()); p != protectionOff {
		return nil, errorf("OperationNotPermitted", "The image '%s' cannot be deregistered: its deregistration protection is %s", i.ID, p)
	}
	if err := a.changeImage(i, in.dryRun, func(next *image) { next.State = imageDeregistered }); err != nil {
		return nil, err
	}
	out := &deregisterImageOut{done: done{Return: true}}
	for _, m := range i.Mappings {
		if m.EBS == nil || m.EBS.Snapshot == "" || !in.DeleteSnapshots {
			continue
		}
		x := deletedSnapshotXML{m.EBS.Snapshot, "success"}
		switch s := a.snapshot(m.EBS.Snapshot); {
		case s == nil:
			x.Code = "client-error"
		case a.usedBy(s.ID) != "":
			x.Code = "skipped"
		default:
			if err := a.removeSnapshot(s); err != nil {
				return nil, err
			}
		}
		out.Deleted = append(out.Deleted, x)
	}
	return out, nil
}
