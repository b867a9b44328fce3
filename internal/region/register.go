package region

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
)

// mappingIn is a block device in a request.
type mappingIn struct {
	Device  string  `q:"DeviceName"`
	Virtual string  `q:"VirtualName"`
	No      *string `q:"NoDevice"`
	EBS     *ebsIn  `q:"Ebs"`
}

type ebsIn struct {
	DeleteOnTermination *bool  `q:"DeleteOnTermination"`
	IOPS                *int32 `q:"Iops"`
	Snapshot            string `q:"SnapshotId"`
	Size                *int64 `q:"VolumeSize"`
	Type                string `q:"VolumeType"`
	KmsKey              string `q:"KmsKeyId"`
	Throughput          *int32 `q:"Throughput"`
	Encrypted           *bool  `q:"Encrypted"`
}

type registerImageIn struct {
	dryRun
	Name           string      `q:"Name"`
	Description    string      `q:"Description"`
	Location       string      `q:"ImageLocation"`
	Architecture   string      `q:"Architecture"`
	Mappings       []mappingIn `q:"BlockDeviceMapping"`
	ENA            bool        `q:"EnaSupport"`
	Kernel         string      `q:"KernelId"`
	Ramdisk        string      `q:"RamdiskId"`
	Products       []string    `q:"BillingProduct"`
	RootDevice     string      `q:"RootDeviceName"`
	Sriov          string      `q:"SriovNetSupport"`
	Virtualization string      `q:"VirtualizationType"`
	BootMode       string      `q:"BootMode"`
	TPM            string      `q:"TpmSupport"`
	UefiData       string      `q:"UefiData"`
	IMDS           string      `q:"ImdsSupport"`
	Specs          []tagSpec   `q:"TagSpecification"`
}

type registerImageOut struct {
	reply
	ID string `xml:"imageId"`
}

var (
	imageName  = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]{3,128}$`)
	deviceName = regexp.MustCompile(`^(/dev/)?(sd|xvd|hd|vd)[a-z]{1,2}[0-9]{0,2}$`)
)

// maxUefiData is the largest variable store, in bytes of base64.
const maxUefiData = 64 << 10

func (a *area) registerImage(in *registerImageIn) (*registerImageOut, error) {
	i := &image{State: imageAvailable}
	if in.Location != "" {
		var err error
		if i, err = a.registerBundle(in); err != nil {
			return nil, err
		}
	}
	in.defaults()
	if err := in.check(); err != nil {
		return nil, err
	}
	registered := 0
	for _, i := range a.images.rows {
		if i.Name == in.Name && i.registered() {
			return nil, errorf("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", in.Name, i.ID)
		}
		if i.registered() {
			registered++
		}
	}
	if limit := a.quota(quotaImages); registered >= limit {
		return nil, errorf("ResourceLimitExceeded", "You have reached your quota of %d for the number of AMIs in this Region.", limit)
	}
	for _, m := range in.Mappings {
		if m.EBS != nil && m.EBS.KmsKey != "" {
			return nil, errorf("InvalidParameterValue", "The parameter KmsKeyId is not supported for the block devices of an image: %s", m.Device)
		}
	}
	mappings, err := a.mappings(in.Mappings, nil)
	if err != nil {
		return nil, err
	}
	i.ID, i.Name, i.Description, i.Architecture, i.Virtualization = a.images.newID(), in.Name, in.Description, in.Architecture, in.Virtualization
	i.BootMode, i.RootDevice, i.TPM, i.IMDS, i.Sriov, i.UefiData, i.ENA = in.BootMode, in.RootDevice, in.TPM, in.IMDS, in.Sriov, in.UefiData, in.ENA
	i.Mappings, i.Created = mappings, a.r.opt.Now()
	if root := i.root(); i.Location == "" && (root == nil || root.Snapshot == "") {
		return nil, errorf("InvalidBlockDeviceMapping", "No root snapshot specified in device mapping: nothing is mapped to %s", in.RootDevice)
	}
	tags, err := specTags(in.Specs, "image")
	if err != nil {
		return nil, err
	}
	i.Tags = tags["image"]
	if err := in.dry(); err != nil {
		return nil, err
	}
	bundled := i.State == statePending
	if !bundled {
		a.settleLater(i)
	}
	if err := a.images.put(i.ID, i); err != nil {
		return nil, err
	}
	if bundled {
		a.examine(i)
	}
	return &registerImageOut{ID: i.ID}, nil
}

// defaults fills in what RegisterImage assumes; the first two have not changed since 2006.
func (in *registerImageIn) defaults() {
	for _, d := range []struct {
		field *string
		value string
	}{{&in.Architecture, "i386"}, {&in.Virtualization, "paravirtual"}, {&in.RootDevice, "/dev/sda1"}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
}

// check validates what can be judged from the request alone.
func (in *registerImageIn) check() error {
	if err := in.checkName(); err != nil {
		return err
	}
	combination := func(format string, args ...any) error { return errorf("InvalidParameterCombination", format, args...) }
	uefi := in.BootMode == "uefi" || in.BootMode == "uefi-preferred"
	switch {
	case len(in.Products) > 0:
		return errorf("OperationNotPermitted", "The account may not use billing products")
	case in.Kernel != "" || in.Ramdisk != "":
		return errorf("InvalidAMIID.NotFound", "The kernel or ramdisk ID '%.40s%.40s' does not exist", in.Kernel, in.Ramdisk)
	case in.Location == "" && len(in.Mappings) == 0:
		return missing("ImageLocation or BlockDeviceMapping")
	}
	for _, e := range []struct {
		name, value string
		valid       []string
	}{
		{"architecture", in.Architecture, []string{"i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"}},
		{"virtualizationType", in.Virtualization, []string{"hvm", "paravirtual"}},
		{"bootMode", in.BootMode, []string{"", "legacy-bios", "uefi", "uefi-preferred"}},
		{"tpmSupport", in.TPM, []string{"", "v2.0"}},
		{"imdsSupport", in.IMDS, []string{"", "v2.0"}},
		{"sriovNetSupport", in.Sriov, []string{"", "simple"}},
	} {
		if !slices.Contains(e.valid, e.value) {
			return errorf("InvalidParameterValue", "Value (%.40s) for parameter %s is invalid. Valid values: %s", e.value, e.name,
				strings.Join(slices.DeleteFunc(e.valid, func(s string) bool { return s == "" }), ", "))
		}
	}
	switch {
	case in.Virtualization == "paravirtual" && (in.ENA || in.Sriov != ""):
		return combination("Enhanced networking is not supported with the virtualization type paravirtual")
	case in.Virtualization == "paravirtual" && in.BootMode != "":
		return combination("A boot mode is not supported with the virtualization type paravirtual")
	case in.Virtualization == "paravirtual" && in.Architecture == "arm64":
		return combination("The architecture arm64 requires the virtualization type hvm")
	case in.Architecture == "arm64" && (in.BootMode == "legacy-bios" || in.BootMode == "uefi-preferred"):
		return combination("The architecture arm64 does not support the boot mode %s", in.BootMode)
	case in.Architecture == "arm64" && !in.ENA:
		return combination("ENA must be supported with the architecture arm64")
	case in.Architecture == "i386" && uefi:
		return combination("The architecture i386 does not support the boot mode %s", in.BootMode)
	case in.TPM != "" && in.BootMode != "uefi":
		return combination("TPM support requires the boot mode uefi")
	case in.UefiData != "" && !uefi:
		return combination("UEFI data requires the boot mode uefi or uefi-preferred")
	case len(in.UefiData) > maxUefiData:
		return errorf("InvalidParameterValue", "The UEFI data is longer than %d characters", maxUefiData)
	}
	if _, err := base64.StdEncoding.DecodeString(in.UefiData); err != nil {
		return errorf("InvalidParameterValue", "The UEFI data is not in base64")
	}
	return nil
}

// checkName validates the name and the description.
func (in *registerImageIn) checkName() error {
	switch {
	case in.Name == "":
		return missing("Name")
	case !imageName.MatchString(in.Name):
		return errorf("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, "+
			"numbers, '(', ')', '.', '-', '/', '_', '[', ']', ' ', ''' and '@'")
	case len(in.Description) > 255:
		return errorf("InvalidParameterValue", "The description is longer than 255 characters")
	}
	return nil
}

// mappings checks block devices and completes them. base are those of the image that an instance is
// launched from: a device in both keeps what the request does not change.
func (a *area) mappings(in []mappingIn, base []mapping) ([]mapping, error) {
	out := slices.Clone(base)
	seen := map[string]bool{}
	for _, m := range in {
		switch {
		case !deviceName.MatchString(m.Device):
			return nil, errorf("InvalidBlockDeviceMapping", "Invalid device name '%.60s'", m.Device)
		case seen[m.Device]:
			return nil, errorf("InvalidBlockDeviceMapping", "The device '%s' is used in more than one block-device mapping", m.Device)
		case m.EBS == nil && m.Virtual == "" && m.No == nil:
			return nil, errorf("InvalidBlockDeviceMapping", "The device '%s' has neither a volume nor a virtual name", m.Device)
		case m.EBS != nil && m.Virtual != "":
			return nil, errorf("InvalidBlockDeviceMapping", "The device '%s' has both a volume and a virtual name", m.Device)
		}
		seen[m.Device] = true
		at := slices.IndexFunc(out, func(o mapping) bool { return o.Device == m.Device })
		var old *volumeSpec
		if at >= 0 {
			old = out[at].EBS
			out = slices.Delete(out, at, at+1)
		}
		if m.No != nil {
			continue
		}
		next := mapping{Device: m.Device, Virtual: m.Virtual}
		if m.EBS != nil {
			var err error
			if next.EBS, err = a.deviceVolume(m.Device, m.EBS, old); err != nil {
				return nil, err
			}
		}
		if at < 0 {
			at = len(out)
		}
		out = slices.Insert(out, at, next)
	}
	return out, nil
}

// volumeTypes are the limits on each type of volume: sizes in GiB, and which rates can be set.
var volumeTypes = map[string]struct {
	least, most      int64
	minIOPS, maxIOPS int32 // 0: they cannot be chosen
	needIOPS         bool
	perGiB           int64 // the most IOPS for each GiB; 3,000 of gp3 come with every size
}{
	"standard": {1, 1024, 0, 0, false, 0},
	"gp2":      {1, 16384, 0, 0, false, 0},
	"gp3":      {1, 65536, 3000, 80000, false, 500},
	"io1":      {4, 16384, 100, 64000, true, 50},
	"io2":      {4, 65536, 100, 256000, true, 1000},
	"st1":      {125, 16384, 0, 0, false, 0},
	"sc1":      {125, 16384, 0, 0, false, 0},
}

// deviceVolume returns what a device of a mapping gets; old is what the image has there, or nil.
func (a *area) deviceVolume(device string, in *ebsIn, old *volumeSpec) (*volumeSpec, error) {
	v := volumeSpec{DeleteOnTermination: true}
	if old != nil {
		v = *old
		if in.Snapshot != "" && in.Snapshot != old.Snapshot {
			return nil, errorf("InvalidBlockDeviceMapping", "snapshotId cannot be modified on root device")
		}
	}
	if in.Snapshot != "" {
		v.Snapshot = in.Snapshot
	}
	if in.Type != "" {
		v.Type, v.IOPS, v.Throughput = in.Type, 0, 0
	} else if v.Type == "" {
		v.Type = "gp2"
	}
	if in.DeleteOnTermination != nil {
		v.DeleteOnTermination = *in.DeleteOnTermination
	}
	if in.Size != nil {
		v.Size = *in.Size
	}
	if v.Snapshot != "" {
		if err := a.fit(&v, device, in); err != nil {
			return nil, err
		}
	} else if err := a.encrypt(&v, in); err != nil {
		return nil, err
	}
	return &v, v.rate(device, in)
}

// encrypt completes a volume that is made from nothing, as far as its encryption goes.
func (a *area) encrypt(v *volumeSpec, in *ebsIn) error {
	if in.Encrypted == nil && in.KmsKey == "" {
		return nil // what the image says
	}
	encrypted, key, usable, err := encryption{in.Encrypted, in.KmsKey}.resolve(a, nil)
	if err == nil && !usable {
		err = errorf("InvalidParameterValue", "The key %.200s cannot be used in %s", in.KmsKey, a.name)
	}
	if v.Encrypted = encrypted; in.KmsKey != "" {
		v.KmsKey = key
	}
	return err
}

// fit completes a volume that is made from a snapshot.
func (a *area) fit(v *volumeSpec, device string, in *ebsIn) error {
	if !validID("snap-", v.Snapshot) {
		return errorf("InvalidSnapshotID.Malformed", "Invalid id: \"%.100s\" (expecting \"snap-...\")", v.Snapshot)
	}
	if in.Encrypted != nil || in.KmsKey != "" {
		return errorf("InvalidBlockDeviceMapping", "the encrypted flag cannot be specified since device %s has a snapshot specified.", device)
	}
	s := a.snapshot(v.Snapshot)
	switch {
	case s == nil || !a.visible(s.ID):
		return errorf("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", v.Snapshot)
	case s.State != stateCompleted:
		return errorf("IncorrectState", "Snapshot is in invalid state - %s", s.State)
	case in.Size == nil && v.Size == 0:
		v.Size = s.VolumeSize
	case in.Size != nil && v.Size > 0 && v.Size < s.VolumeSize:
		return errorf("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size>= %dGB",
			v.Size, s.ID, s.VolumeSize)
	}
	v.Encrypted = s.Encrypted
	return nil
}

// rate checks size, IOPS and throughput against the limits of the volume's type.
func (v *volumeSpec) rate(device string, in *ebsIn) error {
	limits, ok := volumeTypes[v.Type]
	switch {
	case !ok:
		return errorf("InvalidParameterValue", "Value (%.40s) for parameter volumeType is invalid.", v.Type)
	case v.Size == 0 && in.Size == nil:
		return errorf("InvalidBlockDeviceMapping", "The device '%s' needs a volume size or a snapshot", device)
	case v.Size < limits.least || v.Size > limits.most:
		return errorf("InvalidParameterValue", "Volume of %dGiB is invalid. Valid sizes for volumes of type %s are %d GiB to %d GiB.",
			v.Size, v.Type, limits.least, limits.most)
	case in.IOPS == nil && limits.needIOPS && v.IOPS == 0:
		return errorf("MissingParameter", "The parameter iops must be specified for %s volumes.", v.Type)
	case in.IOPS != nil && limits.maxIOPS == 0:
		return errorf("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", v.Type)
	case in.IOPS != nil && (*in.IOPS < limits.minIOPS || *in.IOPS > limits.maxIOPS):
		return errorf("InvalidParameterValue", "Volume iops of %d is invalid; expected %d to %d for %s", *in.IOPS, limits.minIOPS, limits.maxIOPS, v.Type)
	case in.Throughput != nil && v.Type != "gp3":
		return errorf("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", v.Type)
	case in.Throughput != nil && (*in.Throughput < 125 || *in.Throughput > 2000):
		return errorf("InvalidParameterValue", "Throughput of %d MiB/s is invalid; expected 125 to 2000", *in.Throughput)
	}
	if v.Type == "gp3" && v.IOPS == 0 { // what gp3 gives without asking
		v.IOPS, v.Throughput = 3000, 125
	}
	if in.IOPS != nil {
		v.IOPS = *in.IOPS
	}
	if in.Throughput != nil {
		v.Throughput = *in.Throughput
	}
	switch {
	case limits.perGiB > 0 && int64(v.IOPS) > v.Size*limits.perGiB && (v.Type != "gp3" || v.IOPS > 3000):
		return errorf("InvalidParameterValue", "Iops to volume size ratio of %.6f is too high; maximum is %d.", float64(v.IOPS)/float64(v.Size), limits.perGiB)
	case v.Throughput > v.IOPS/4:
		return errorf("InvalidParameterValue", "Throughput (MiBps) to iops ratio of %.6f is too high; maximum is 0.250000 MiBps per iops.",
			float64(v.Throughput)/float64(v.IOPS))
	}
	return nil
}
