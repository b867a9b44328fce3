// Package imds answers as the EC2 instance metadata service does (Amazon EC2 User Guide, "Use instance
// metadata to manage your EC2 instance"): versions 1 and 2 of the protocol, the metadata tree, user data
// and the instance identity document.
//
// It serves a guest on this machine, through a socket that internal/machine carries to 169.254.169.254.
package imds

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"
)

// Instance is what the service tells about one instance. The zero value of a field leaves its entry out,
// except where a default is named; an instance has at least an ID.
type Instance struct {
	ID             string // such as i-0123456789abcdef0
	ImageID        string // default ami-00000000000000000
	Type           string // default t3.micro
	Arch           string // x86_64 (default) or arm64
	AccountID      string // default 000000000000
	Region         string // default us-east-1
	AZ             string // availability zone; default the region's a
	LocalIPv4      string
	Subnet         string // of the subnet and the VPC, in CIDR form; default 169.0.0.0/8, as internal/machine has it
	InterfaceID    string // default: from ID, as the two below
	SubnetID       string
	VPCID          string
	PublicIPv4     string
	MAC            string
	Hostname       string            // default ip-a-b-c-d.ec2.internal, from LocalIPv4
	KeyName        string            // of PublicKey; default "ingot"
	PublicKey      string            // OpenSSH authorized_keys format; "" for an instance without a key pair
	UserData       []byte            // raw, not base64
	RootDevice     string            // default /dev/xvda
	Tags           map[string]string // given out only if TagsInMetadata
	Launched       time.Time         // UTC; default: none is told
	LaunchIndex    int
	ReservationID  string   // default: from ID
	SecurityGroups []string // their names; default: "default"
	GroupIDs       []string // of SecurityGroups; default: one from ID
	Lifecycle      string   // on-demand (default) or spot

	// What an image that is backed by instance store says of itself.
	ManifestPath string            // in S3; default "(unknown)"
	Ancestors    []string          // ids of the AMIs that it was made from
	ProductCodes []string          // of the marketplace
	KernelID     string            // of a paravirtual image
	RamdiskID    string            // of a paravirtual image, too
	BlockDevices map[string]string // device by virtual name, beside ami and root

	TagsInMetadata bool // the launch option InstanceMetadataTags=enabled
}

// complete fills in the defaults.
func (i Instance) complete() Instance {
	i.ImageID = cmp.Or(i.ImageID, "ami-00000000000000000")
	i.Type = cmp.Or(i.Type, "t3.micro")
	i.Arch = cmp.Or(i.Arch, "x86_64")
	i.AccountID = cmp.Or(i.AccountID, "000000000000")
	i.Region = cmp.Or(i.Region, "us-east-1")
	i.AZ = cmp.Or(i.AZ, i.Region+"a")
	i.Subnet = cmp.Or(i.Subnet, "169.0.0.0/8")
	i.KeyName = cmp.Or(i.KeyName, "ingot")
	i.RootDevice = cmp.Or(i.RootDevice, "/dev/xvda")
	i.Hostname = cmp.Or(i.Hostname, i.PrivateName())
	i.ReservationID = cmp.Or(i.ReservationID, i.derive("r-"))
	i.InterfaceID = cmp.Or(i.InterfaceID, i.derive("eni-"))
	i.SubnetID = cmp.Or(i.SubnetID, i.derive("subnet-"))
	i.VPCID = cmp.Or(i.VPCID, i.derive("vpc-"))
	if len(i.GroupIDs) == 0 {
		i.GroupIDs = []string{i.derive("sg-")}
	}
	if len(i.SecurityGroups) == 0 {
		i.SecurityGroups = []string{"default"}
	}
	i.Lifecycle = cmp.Or(i.Lifecycle, "on-demand")
	i.ManifestPath = cmp.Or(i.ManifestPath, "(unknown)")
	i.Tags = maps.Clone(i.Tags)
	return i
}

// derive makes a plausible id of another kind that belongs to the instance.
func (i Instance) derive(prefix string) string {
	return fmt.Sprintf("%s0%x", prefix, sha256.Sum256([]byte(prefix+i.ID)))[:len(prefix)+17]
}

// PrivateName is the name that a VPC's resolver gives LocalIPv4, and the default of Hostname.
func (i Instance) PrivateName() string {
	addr, err := netip.ParseAddr(i.LocalIPv4)
	if err != nil {
		return ""
	}
	name := "ip-" + strings.ReplaceAll(addr.String(), ".", "-")
	if i.Region == "us-east-1" || i.Region == "" {
		return name + ".ec2.internal"
	}
	return name + "." + i.Region + ".compute.internal"
}

func (i Instance) publicName() string {
	name := "ec2-" + strings.ReplaceAll(i.PublicIPv4, ".", "-")
	if i.Region == "us-east-1" {
		return name + ".compute-1." + i.domain()
	}
	return name + "." + i.Region + ".compute." + i.domain()
}

// partition is the part of AWS that a region belongs to.
func (i Instance) partition() string {
	switch {
	case strings.HasPrefix(i.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(i.Region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

func (i Instance) domain() string {
	if i.partition() == "aws-cn" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// ZoneID spells the availability zone as its id: us-east-1a is use1-az1. (AWS deals the ids to the letters
// anew for each account; here they follow the alphabet.)
func (i Instance) ZoneID() string {
	letter := strings.TrimPrefix(i.AZ, i.Region)
	parts := strings.Split(i.Region, "-")
	if len(letter) != 1 || len(parts) < 3 {
		return ""
	}
	id := parts[0]
	for _, word := range parts[1 : len(parts)-1] {
		for _, direction := range []string{"north", "south"} {
			if rest, ok := strings.CutPrefix(word, direction); ok && rest != "" {
				id, word = id+direction[:1], rest
			}
		}
		id += word[:1]
	}
	return fmt.Sprintf("%s%s-az%d", id, parts[len(parts)-1], letter[0]-'a'+1)
}
