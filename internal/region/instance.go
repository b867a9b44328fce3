package region

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"
)

// States of an instance.
const (
	stateRunning      = "running"
	stateShuttingDown = "shutting-down"
	stateTerminated   = "terminated"
	stateStopping     = "stopping"
	stateStopped      = "stopped"
)

var stateCodes = map[string]int{statePending: 0, stateRunning: 16, stateShuttingDown: 32, stateTerminated: 48, stateStopping: 64, stateStopped: 80}

const (
	// sshPortTag shows the port that SSH is on, where the process may not use port 22.
	sshPortTag = "ingot:ssh-port"
	// remembered is how long a terminated instance is still described.
	remembered = time.Hour
)

// instance is a machine that was launched from an image. The area's lock guards it.
type instance struct {
	ID, Reservation, Image     string
	Type, Architecture         string
	BootMode, Firmware         string // the image's; what it really is: legacy-bios or uefi
	Key, PublicKey             string // the key pair's name, and what it was at the launch
	Zone                       string
	PublicIP, PrivateIP, MAC   string
	State, ReasonCode, Reason  string
	Token, Request             string // the client token and the digest of the parameters it came with
	LaunchIndex                int
	Launched, Ended, Reachable time.Time // Reachable: when SSH first answered
	RootDevice                 string
	Location                   string // of the image's manifest, where its root is instance store
	UserData                   []byte
	Protected                  bool     // from being terminated
	Groups                     []string // ids of security groups
	Metadata                   metadataOptions
	ShutdownBehavior           string
	SpotRequest                string `json:",omitempty"` // id; "": at the full price
	Tags                       map[string]string

	live *live
}

type metadataOptions struct {
	State    string `xml:"state"`
	Tokens   string `xml:"httpTokens"`
	HopLimit int32  `xml:"httpPutResponseHopLimit"`
	Endpoint string `xml:"httpEndpoint"`
	IPv6     string `xml:"httpProtocolIpv6"`
	Tags     string `xml:"instanceMetadataTags"`
}

func (i *instance) tagsInMetadata() bool { return i.Metadata.Tags == "enabled" }

// live is what an instance has from its start until its machine has ended.
type live struct {
	ctx     context.Context // ends when the machine is to be killed
	cancel  func()
	button  chan struct{} // takes one press: the guest is to power off
	console console
	dir     string // scratch, with the disks
	again   bool   // the instance was stopped before

	ops     sync.Mutex // held while disks come, go or are read; never taken by a holder of the area's lock
	machine Running    // nil: it does not run yet, or no longer
}

// console keeps the last 64 KiB of what a guest printed, as EC2 does.
type console struct {
	mu   sync.Mutex
	tail []byte
	at   time.Time
	now  func() time.Time
}

const consoleSize = 64 << 10

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.now()
	c.tail = append(c.tail, p...)
	if len(c.tail) > 2*consoleSize { // cut rarely, so that a byte is not moved for each byte that comes
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-consoleSize:]...)
	}
	return len(p), nil
}

func (c *console) last() ([]byte, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.tail[max(0, len(c.tail)-consoleSize):]...), c.at
}

// ended marks an instance as terminated, and lets go of its volumes.
func (a *area) ended(i *instance, code, reason string) {
	i.terminated(a.r.opt.Now(), code, reason)
	a.release(i)
}

// terminated marks an instance as terminated.
func (i *instance) terminated(now time.Time, code, reason string) {
	i.State, i.ReasonCode, i.Reason, i.Ended = stateTerminated, code, reason, now
	i.PublicIP, i.PrivateIP, i.UserData = "", "", nil
}

// stopped marks an instance as stopped.
func (i *instance) stopped(code, reason string) {
	i.State, i.ReasonCode, i.Reason, i.PublicIP, i.Reachable = stateStopped, code, reason, "", time.Time{}
	delete(i.Tags, sshPortTag)
}

// networkID returns the id of a part of the region's default network: it is the same at every start.
func (a *area) networkID(prefix, part string) string {
	sum := sha256.Sum256([]byte(a.name + " " + a.r.opt.AccountID + " " + prefix + part))
	return prefix + "0" + hex.EncodeToString(sum[:8])
}

type stateXML struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

func newState(name string) stateXML { return stateXML{stateCodes[name], name} }

type groupXML struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

type placementXML struct {
	Zone    string `xml:"availabilityZone"`
	Group   string `xml:"groupName"`
	Tenancy string `xml:"tenancy"`
}

type attachmentXML struct {
	Device string `xml:"deviceName"`
	EBS    struct {
		Volume              string `xml:"volumeId"`
		Status              string `xml:"status"`
		Attached            string `xml:"attachTime"`
		DeleteOnTermination bool   `xml:"deleteOnTermination"`
	} `xml:"ebs"`
}

type reasonXML struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

type instanceXML struct {
	ID              string              `xml:"instanceId"`
	Image           string              `xml:"imageId"`
	State           stateXML            `xml:"instanceState"`
	PrivateDNS      string              `xml:"privateDnsName"`
	PublicDNS       string              `xml:"dnsName"`
	Reason          string              `xml:"reason"`
	Key             string              `xml:"keyName,omitempty"`
	LaunchIndex     int                 `xml:"amiLaunchIndex"`
	Products        struct{}            `xml:"productCodes"`
	Type            string              `xml:"instanceType"`
	Launched        string              `xml:"launchTime"`
	Placement       placementXML        `xml:"placement"`
	Monitoring      string              `xml:"monitoring>state"`
	Subnet          string              `xml:"subnetId,omitempty"`
	VPC             string              `xml:"vpcId,omitempty"`
	PrivateIP       string              `xml:"privateIpAddress,omitempty"`
	PublicIP        string              `xml:"ipAddress,omitempty"`
	SourceDestCheck bool                `xml:"sourceDestCheck"`
	Groups          list[groupXML]      `xml:"groupSet"`
	StateReason     *reasonXML          `xml:"stateReason"`
	Architecture    string              `xml:"architecture"`
	RootDeviceType  string              `xml:"rootDeviceType"`
	RootDevice      string              `xml:"rootDeviceName"`
	Volumes         list[attachmentXML] `xml:"blockDeviceMapping"`
	Virtualization  string              `xml:"virtualizationType"`
	Token           string              `xml:"clientToken"`
	Tags            []tag               `xml:"tagSet>item,omitempty"`
	Hypervisor      string              `xml:"hypervisor"`
	EbsOptimized    bool                `xml:"ebsOptimized"`
	ENA             bool                `xml:"enaSupport"`
	BootMode        string              `xml:"bootMode,omitempty"`
	CurrentBootMode string              `xml:"currentInstanceBootMode"`
	Metadata        metadataOptions     `xml:"metadataOptions"`
	Cards           list[interfaceXML]  `xml:"networkInterfaceSet"`
	PlatformDetails string              `xml:"platformDetails"`
	UsageOperation  string              `xml:"usageOperation"`
	Lifecycle       string              `xml:"instanceLifecycle,omitempty"`
	SpotRequest     string              `xml:"spotInstanceRequestId,omitempty"`
}

func (a *area) instanceXML(i *instance) instanceXML {
	x := instanceXML{ID: i.ID, Image: i.Image, State: newState(i.State), Reason: i.Reason, Key: i.Key, LaunchIndex: i.LaunchIndex, Type: i.Type,
		Launched: stamp(i.Launched), Placement: placementXML{Zone: i.Zone, Tenancy: "default"}, Monitoring: "disabled",
		PrivateIP: i.PrivateIP, PublicIP: i.PublicIP, Architecture: i.Architecture, RootDeviceType: "ebs", RootDevice: i.RootDevice,
		Virtualization: "hvm", Token: i.Token, Tags: tagSet(i.Tags), Hypervisor: "xen", ENA: true, BootMode: i.BootMode,
		CurrentBootMode: i.Firmware, Metadata: i.Metadata, PlatformDetails: "Linux/UNIX", UsageOperation: "RunInstances"}
	if i.Location != "" {
		x.RootDeviceType, x.ENA = "instance-store", false
	}
	if i.SpotRequest != "" {
		x.Lifecycle, x.SpotRequest = spot, i.SpotRequest
	}
	if i.ReasonCode != "" {
		x.StateReason = &reasonXML{i.ReasonCode, i.Reason}
	}
	if i.State == stateTerminated {
		return x
	}
	x.PublicDNS = i.PublicIP // an address is a name that always resolves
	x.PrivateDNS = a.privateName(i)
	x.Subnet, x.VPC, x.SourceDestCheck = a.subnetID(i.Zone), a.vpcID(), true
	x.Groups, x.Cards.Items = a.groupsOf(i), []interfaceXML{a.card(i)}
	for _, v := range a.attached(i) {
		t := attachmentXML{Device: v.Attachment.Device}
		t.EBS.Volume, t.EBS.Status, t.EBS.Attached, t.EBS.DeleteOnTermination = v.ID, v.Attachment.State, stamp(v.Attachment.Attached), v.DeleteOnTermination
		x.Volumes.Items = append(x.Volumes.Items, t)
	}
	return x
}

func (x instanceXML) attr(name string) ([]string, bool) {
	one := map[string]string{"instance-id": x.ID, "image-id": x.Image, "instance-state-name": x.State.Name,
		"instance-state-code": strconv.Itoa(x.State.Code), "instance-type": x.Type, "key-name": x.Key, "architecture": x.Architecture,
		"availability-zone": x.Placement.Zone, "client-token": x.Token, "ip-address": x.PublicIP, "private-ip-address": x.PrivateIP,
		"dns-name": x.PublicDNS, "private-dns-name": x.PrivateDNS, "launch-time": x.Launched, "root-device-name": x.RootDevice,
		"root-device-type": x.RootDeviceType, "subnet-id": x.Subnet, "vpc-id": x.VPC, "virtualization-type": x.Virtualization,
		"hypervisor": x.Hypervisor, "boot-mode": x.BootMode, "current-instance-boot-mode": x.CurrentBootMode,
		"instance-lifecycle": x.Lifecycle, "spot-instance-request-id": x.SpotRequest}
	if v, ok := one[name]; ok {
		return []string{v}, true
	}
	if strings.HasPrefix(name, "block-device-mapping.") {
		return x.volumeAttr(name)
	}
	return tagAttr(tagMap(x.Tags), name)
}

// volumeAttr answers the filters for attached volumes.
func (x instanceXML) volumeAttr(name string) (all []string, ok bool) {
	for _, v := range append(x.Volumes.Items, attachmentXML{}) {
		var value string
		value, ok = map[string]string{"block-device-mapping.volume-id": v.EBS.Volume, "block-device-mapping.device-name": v.Device,
			"block-device-mapping.status": v.EBS.Status, "block-device-mapping.attach-time": v.EBS.Attached,
			"block-device-mapping.delete-on-termination": strconv.FormatBool(v.EBS.DeleteOnTermination)}[name]
		if v.EBS.Volume != "" {
			all = append(all, value)
		}
	}
	return all, ok
}
