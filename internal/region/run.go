package region

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ingot/internal/imds"
	"ingot/internal/machine"
)

const (
	maxRunning  = 20       // instances of a region that are not terminated: each is a machine of its own here
	maxUserData = 16 << 10 // bytes
)

type runInstancesIn struct {
	dryRun
	Image            string              `q:"ImageId"`
	Type             string              `q:"InstanceType"`
	Min              *int32              `q:"MinCount"`
	Max              *int32              `q:"MaxCount"`
	Key              string              `q:"KeyName"`
	UserData         string              `q:"UserData"`
	Token            string              `q:"ClientToken"`
	Mappings         []mappingIn         `q:"BlockDeviceMapping"`
	Specs            []tagSpec           `q:"TagSpecification"`
	ShutdownBehavior string              `q:"InstanceInitiatedShutdownBehavior"`
	Protected        *bool               `q:"DisableApiTermination"`
	Subnet           string              `q:"SubnetId"`
	Groups           []string            `q:"SecurityGroupId"`
	GroupNames       []string            `q:"SecurityGroup"`
	Interfaces       []interfaceIn       `q:"NetworkInterface"`
	EbsOptimized     *bool               `q:"EbsOptimized"` // Nitro types are, whatever is asked
	Template         templateVersionName `q:"LaunchTemplate"`
	Placement        placementIn         `q:"Placement"`
	Profile          struct {
		ARN  string `q:"Arn"`
		Name string `q:"Name"`
	} `q:"IamInstanceProfile"`
	Monitoring struct {
		Enabled bool `q:"Enabled"`
	} `q:"Monitoring"`
	Metadata metadataIn `q:"MetadataOptions"`
	Market   marketIn   `q:"InstanceMarketOptions" json:",omitzero"`
}

type placementIn struct {
	Zone    string `q:"AvailabilityZone"`
	Tenancy string `q:"Tenancy"`
}

type metadataIn struct {
	Tokens   string `q:"HttpTokens"`
	HopLimit int32  `q:"HttpPutResponseHopLimit"`
	Endpoint string `q:"HttpEndpoint"`
	IPv6     string `q:"HttpProtocolIpv6"`
	Tags     string `q:"InstanceMetadataTags"`
}

type runInstancesOut struct {
	reply
	reservationXML
}

// digest identifies the parameters, so that a client token used for others is noticed.
func (in runInstancesIn) digest() string {
	in.Token = ""
	return digest(in)
}

func (a *area) runInstances(in *runInstancesIn) (*runInstancesOut, error) {
	request := in.digest() // before the defaults are filled in
	if earlier, err := a.launched(in.Token, request); err != nil || earlier != nil {
		return earlier, err
	}
	if err := in.fromTemplate(a); err != nil {
		return nil, err
	}
	if err := in.flatten(); err != nil {
		return nil, err
	}
	img, err := a.available(in.Image)
	if err != nil {
		return nil, err
	}
	t, err := in.check(a, img)
	if err != nil {
		return nil, err
	}
	mappings, err := a.mappings(in.Mappings, img.Mappings)
	if err != nil {
		return nil, err
	}
	userData, err := in.userData()
	if err != nil {
		return nil, err
	}
	tags, err := specTags(in.Specs, "instance", "volume", "network-interface")
	if err != nil {
		return nil, err
	}
	for key := range tags["instance"] {
		if err := checkMetadataKey(key); err != nil && in.Metadata.Tags == "enabled" {
			return nil, err
		}
	}
	if err := img.mountable(mappings); err != nil {
		return nil, err
	}
	if err := a.noMachines(); err != nil {
		return nil, err
	}
	if err := a.changeImage(img, in.dryRun, func(next *image) { next.LastLaunch = a.r.opt.Now() }); err != nil {
		return nil, err
	}
	reservation := newID("r-")
	var all []*instance
	for n := range int(*in.Max) {
		i := a.newInstance(in, img, t)
		i.Request, i.Reservation, i.LaunchIndex, i.Tags, i.UserData = request, reservation, n, maps.Clone(tags["instance"]), userData
		all = append(all, i)
		err := a.giveVolumes(i, mappings, tags["volume"])
		if err == nil {
			err = a.instances.put(i.ID, i)
		}
		if err != nil {
			a.abandon(all)
			return nil, err
		}
	}
	for _, i := range all {
		a.launch(i, t, false)
	}
	return &runInstancesOut{reservationXML: a.reservation(all...)}, nil
}

// abandon takes back what was made for a launch that fails.
func (a *area) abandon(all []*instance) {
	for _, i := range all {
		for _, v := range a.attached(i) {
			v.DeleteOnTermination = true
		}
		a.ended(i, "Server.InternalError", "Server.InternalError: it could not be written down")
		if err := a.instances.drop(i.ID); err != nil {
			a.r.opt.Log.Error("taking back an instance", "instance", i.ID, "error", err)
		}
	}
}

// mountable says whether an instance of the image can have these volumes.
func (i *image) mountable(mappings []mapping) error {
	volumes := 0
	for _, m := range mappings {
		if m.EBS != nil {
			volumes++
		}
	}
	switch {
	case i.Location != "" && volumes > 0:
		return errorf("InvalidBlockDeviceMapping", "EBS block device mappings not supported for instance-store AMIs.")
	case i.Location == "" && !slices.ContainsFunc(mappings, func(m mapping) bool { return m.Device == i.RootDevice && m.EBS != nil }):
		return errorf("InvalidBlockDeviceMapping", "The root device %s has no volume", i.RootDevice)
	case volumes > maxVolumes+1:
		return errorf("AttachmentLimitExceeded", "The local region attaches %d volumes beside that of the root device", maxVolumes)
	}
	return nil
}

// giveVolumes makes an instance's volumes. Ephemeral devices are left out, as on types that have none.
func (a *area) giveVolumes(i *instance, mappings []mapping, tags map[string]string) error {
	for _, m := range mappings {
		if m.EBS == nil {
			continue
		}
		v := a.newVolume(*m.EBS, i.Zone, a.snapshots.rows[m.EBS.Snapshot])
		v.State, v.Tags, v.Attachment = stateInUse, maps.Clone(tags), &attachment{Instance: i.ID, Device: m.Device, State: stateAttached, Attached: i.Launched}
		if s := a.snapshots.rows[v.Snapshot]; v.Encrypted && s != nil {
			v.KmsKey = s.KmsKey
		} else if v.Encrypted {
			v.KmsKey = cmp.Or(v.KmsKey, a.managedKey())
		}
		if err := a.keepVolume(v); err != nil {
			return err
		}
	}
	return nil
}

// launched returns what an earlier request with the same client token started, if any.
func (a *area) launched(token, request string) (*runInstancesOut, error) {
	var all []*instance
	for _, i := range a.instances.rows {
		if token == "" || i.Token != token {
			continue
		}
		if i.Request != request {
			return nil, mismatched()
		}
		all = append(all, i)
	}
	if all == nil {
		return nil, nil
	}
	slices.SortFunc(all, func(a, b *instance) int { return a.LaunchIndex - b.LaunchIndex })
	return &runInstancesOut{reservationXML: a.reservation(all...)}, nil
}

// check validates a launch of an image.
func (in *runInstancesIn) check(a *area, img *image) (t instanceType, err error) {
	if in.Type == "" {
		in.Type = "m1.small" // what RunInstances assumes; it is refused below, as it is in most of AWS's zones
	}
	switch {
	case in.Min == nil:
		return t, missing("MinCount")
	case in.Max == nil:
		return t, missing("MaxCount")
	case *in.Min < 1 || *in.Max < *in.Min:
		return t, errorf("InvalidParameterValue", "Invalid value '%d' for minCount or '%d' for maxCount", *in.Min, *in.Max)
	case in.Key != "" && a.keyNamed(in.Key) == nil:
		return t, errorf("InvalidKeyPair.NotFound", "The key pair '%.300s' does not exist", in.Key)
	}
	if t, err = lookupType(in.Type); err != nil {
		return t, err
	}
	switch {
	case img.Architecture != t.arch:
		return t, errorf("InvalidParameterValue", "The architecture '%s' of the specified instance type does not match the architecture '%s' "+
			"of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", t.arch, img.Architecture)
	case img.Virtualization != "hvm":
		return t, errorf("InvalidParameterCombination", "Virtualization type '%s' is not supported by the instance type '%s'", img.Virtualization, in.Type)
	case img.Location != "" && !t.store:
		return t, errorf("UnsupportedOperation", "AMI '%s' with an instance-store root device is not supported for the instance type '%s'.", img.ID, in.Type)
	case t.paravirtual:
		return t, errorf("InvalidParameterCombination", "Non-Windows instances with a virtualization type of 'hvm' are currently not supported for this instance type.")
	case t.store && img.Location == "":
		return t, errorf("Unsupported", "The requested configuration is currently not supported: the local region has %s for images that are backed by instance store alone", in.Type)
	case t.store && img.BootMode == "uefi":
		return t, errorf("InvalidParameterValue", "The %s instance type does not support an AMI with a boot mode of UEFI. Only instance types built on the Nitro System support UEFI.", in.Type)
	case img.Location != "" && in.ShutdownBehavior == "stop":
		return t, errorf("UnsupportedOperation", "The attribute instanceInitiatedShutdownBehavior can only be used for EBS-backed images.")
	case !img.ENA && !t.store:
		return t, errorf("InvalidParameterCombination", "Enhanced networking with the Elastic Network Adapter (ENA) is required for the '%s' "+
			"instance type. Ensure that you are using an AMI that is enabled for ENA.", in.Type)
	}
	active := 0
	for _, i := range a.instances.rows {
		if i.State != stateTerminated {
			active++
		}
	}
	if active+int(*in.Max) > maxRunning {
		return t, errorf("InstanceLimitExceeded", "You have requested more instances (%d) than your current instance limit of %d allows "+
			"for the local region.", active+int(*in.Max), maxRunning)
	}
	return t, in.checkOptions(a)
}

// checkOptions validates what a launch says about its surroundings, and fills in what it leaves open.
func (in *runInstancesIn) checkOptions(a *area) error {
	zones := a.zones()
	if in.Placement.Zone == "" {
		in.Placement.Zone = zones[0].Name
		for _, z := range zones {
			if in.Subnet == a.subnetID(z.Name) {
				in.Placement.Zone = z.Name
			}
		}
	}
	if !slices.ContainsFunc(zones, func(z zoneXML) bool { return z.Name == in.Placement.Zone }) {
		return errorf("InvalidParameterValue", "Invalid availability zone: [%.60s]", in.Placement.Zone)
	}
	if in.Subnet != "" && in.Subnet != a.subnetID(in.Placement.Zone) {
		return noSubnet(in.Subnet)
	}
	for _, name := range in.GroupNames {
		g, err := a.group("", name)
		if err != nil {
			return err
		}
		in.Groups = append(in.Groups, g.ID)
	}
	for _, id := range in.Groups {
		if _, err := a.group(id, ""); err != nil {
			return err
		}
	}
	if len(in.Groups) == 0 {
		in.Groups = []string{a.defaultGroup()}
	}
	if name := in.Profile.ARN + in.Profile.Name; name != "" {
		return errorf("InvalidParameterValue", "Value (%.60s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", name)
	}
	if err := in.Market.check(); err != nil {
		return err
	}
	if h := in.Metadata.HopLimit; h < 0 || h > 64 {
		return errorf("InvalidParameterValue", "Invalid value '%d' for HttpPutResponseHopLimit; expected 1 to 64", h)
	}
	for _, e := range []struct {
		name, value string
		valid       []string
	}{
		{"InstanceInitiatedShutdownBehavior", in.ShutdownBehavior, []string{"", "stop", "terminate"}},
		{"Tenancy", in.Placement.Tenancy, []string{"", "default"}},
		{"HttpTokens", in.Metadata.Tokens, []string{"", "optional", "required"}},
		{"HttpEndpoint", in.Metadata.Endpoint, []string{"", "enabled"}},
		{"HttpProtocolIpv6", in.Metadata.IPv6, []string{"", "disabled"}},
		{"InstanceMetadataTags", in.Metadata.Tags, []string{"", "enabled", "disabled"}},
	} {
		if !slices.Contains(e.valid, e.value) {
			return errorf("InvalidParameterValue", "Invalid value '%.60s' for %s; the local region has %s", e.value, e.name,
				strings.Join(e.valid[1:], " and "))
		}
	}
	return nil
}

func (in *runInstancesIn) userData() ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(in.UserData)
	if err != nil {
		return nil, errorf("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	if len(data) > maxUserData {
		return nil, errorf("InvalidParameterValue", "User data is limited to %d bytes", maxUserData)
	}
	return data, nil
}

// newInstance makes an instance that is pending.
func (a *area) newInstance(in *runInstancesIn, img *image, t instanceType) *instance {
	i := &instance{ID: a.instances.newID(), Image: img.ID, Type: in.Type, Architecture: t.arch, BootMode: img.BootMode, Firmware: "legacy-bios",
		Key: in.Key, Zone: in.Placement.Zone, PublicIP: a.loopback(), State: statePending, Token: in.Token,
		Launched: a.r.opt.Now(), RootDevice: img.RootDevice, Location: img.Location,
		ShutdownBehavior: in.ShutdownBehavior, Protected: in.Protected != nil && *in.Protected, Groups: in.Groups,
		Metadata: metadataOptions{State: "applied", Tokens: in.Metadata.Tokens, HopLimit: in.Metadata.HopLimit, Endpoint: "enabled",
			IPv6: "disabled", Tags: in.Metadata.Tags}}
	if t.arch == "arm64" || !t.store && (img.BootMode == "uefi" || img.BootMode == "uefi-preferred") {
		i.Firmware = "uefi" // every other type that is modelled here has both
	}
	if in.Market.Type == spot {
		i.SpotRequest = newSpotRequest()
	}
	if k := a.keyNamed(in.Key); k != nil {
		i.PublicKey = k.PublicKey
	}
	if i.Location != "" {
		i.ShutdownBehavior = "terminate" // instance store ends with the instance
	}
	if i.ShutdownBehavior == "" {
		i.ShutdownBehavior = "stop"
	}
	m := &i.Metadata
	if m.Tokens == "" {
		m.Tokens = "optional"
		if img.IMDS == "v2.0" {
			m.Tokens = "required"
		}
	}
	if m.HopLimit == 0 {
		m.HopLimit = 1
		if img.IMDS == "v2.0" {
			m.HopLimit = 2
		}
	}
	if m.Tags == "" {
		m.Tags = "disabled"
	}
	i.PrivateIP = machine.GuestAddress // each instance has a network of its own, and the same address in it
	var b [5]byte
	rand.Read(b[:])
	i.MAC = fmt.Sprintf("0a:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4])
	return i
}

// loopback returns an address for a new instance, of its own within 127/8: a block of 65,536 for each region.
func (a *area) loopback() string {
	taken := map[string]bool{}
	for _, i := range a.instances.rows {
		taken[i.PublicIP] = true
	}
	second := byte(64 + slices.IndexFunc(awsRegions, func(r awsRegion) bool { return r.name == a.name }))
	for {
		var b [2]byte
		rand.Read(b[:])
		if ip := netip.AddrFrom4([4]byte{127, second, b[0], b[1]}).String(); b[1] > 0 && b[1] < 255 && !taken[ip] {
			return ip
		}
	}
}

// privateName is the name that EC2 gives to an instance's private address.
func (a *area) privateName(i *instance) string {
	return imds.Instance{Region: a.name, LocalIPv4: i.PrivateIP}.PrivateName()
}
