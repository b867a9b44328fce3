package region

import "slices"

// The default network of a region: one VPC, with a subnet in each zone. There are no others.
const vpcCIDR = "172.31.0.0/16"

func (a *area) vpcID() string               { return a.networkID("vpc-", "") }
func (a *area) subnetID(zone string) string { return a.networkID("subnet-", zone) }
func (a *area) defaultGroup() string        { return a.networkID("sg-", "") }
func (a *area) arn(kind, id string) string {
	return "arn:" + a.partition() + ":ec2:" + a.name + ":" + a.r.opt.AccountID + ":" + kind + "/" + id
}
func noVPC(id string) error {
	return errorf("InvalidVpcID.NotFound", "The vpc ID '%.60s' does not exist", id)
}
func noSubnet(id string) error {
	return errorf("InvalidSubnetID.NotFound", "The subnet ID '%.60s' does not exist", id)
}

type describeVpcsIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	IDs     []string `q:"VpcId"`
}

type vpcBlockXML struct {
	CIDR  string `xml:"cidrBlock"`
	State string `xml:"cidrBlockState>state"`
}

type vpcXML struct {
	ID      string            `xml:"vpcId"`
	Owner   string            `xml:"ownerId"`
	State   string            `xml:"state"`
	CIDR    string            `xml:"cidrBlock"`
	Blocks  list[vpcBlockXML] `xml:"cidrBlockAssociationSet"`
	Options string            `xml:"dhcpOptionsId"`
	Tenancy string            `xml:"instanceTenancy"`
	Default bool              `xml:"isDefault"`
}

func (x vpcXML) attr(name string) ([]string, bool) {
	return one(map[string]string{"vpc-id": x.ID, "owner-id": x.Owner, "state": x.State, "cidr": x.CIDR, "cidr-block": x.CIDR, "is-default": "true", "isDefault": "true"}, name)
}

type describeVpcsOut struct {
	reply
	VPCs list[vpcXML] `xml:"vpcSet"`
	Next string       `xml:"nextToken,omitempty"`
}

func (a *area) describeVpcs(in *describeVpcsIn) (*describeVpcsOut, error) {
	for _, id := range in.IDs {
		if id != a.vpcID() {
			return nil, noVPC(id)
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	x := vpcXML{ID: a.vpcID(), Owner: a.r.opt.AccountID, State: stateAvailable, CIDR: vpcCIDR, Options: a.networkID("dopt-", ""), Tenancy: "default", Default: true}
	x.Blocks.Items = []vpcBlockXML{{vpcCIDR, "associated"}}
	all, err := choose([]vpcXML{x}, in.Filters, vpcXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeVpcsOut{}
	out.VPCs.Items, out.Next, err = page(a.r, "DescribeVpcs", in.paged, 5, len(in.IDs) > 0, all, func(x vpcXML) string { return x.ID })
	return out, err
}

type describeSubnetsIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	IDs     []string `q:"SubnetId"`
}

type subnetXML struct {
	ID       string `xml:"subnetId"`
	ARN      string `xml:"subnetArn"`
	State    string `xml:"state"`
	Owner    string `xml:"ownerId"`
	VPC      string `xml:"vpcId"`
	CIDR     string `xml:"cidrBlock"`
	Free     int    `xml:"availableIpAddressCount"`
	Zone     string `xml:"availabilityZone"`
	ZoneID   string `xml:"availabilityZoneId"`
	Default  bool   `xml:"defaultForAz"`
	PublicIP bool   `xml:"mapPublicIpOnLaunch"`
	IPv6     bool   `xml:"assignIpv6AddressOnCreation"`
}

func (x subnetXML) attr(name string) ([]string, bool) {
	return one(map[string]string{"subnet-id": x.ID, "subnet-arn": x.ARN, "state": x.State, "owner-id": x.Owner, "vpc-id": x.VPC, "cidr": x.CIDR, "cidr-block": x.CIDR,
		"cidrBlock": x.CIDR, "availability-zone": x.Zone, "availabilityZone": x.Zone, "availability-zone-id": x.ZoneID, "default-for-az": "true", "defaultForAz": "true",
		"map-public-ip-on-launch": "true"}, name)
}

type describeSubnetsOut struct {
	reply
	Subnets list[subnetXML] `xml:"subnetSet"`
	Next    string          `xml:"nextToken,omitempty"`
}

func (a *area) subnets() (all []subnetXML) {
	for n, z := range a.zones() {
		id := a.subnetID(z.Name)
		all = append(all, subnetXML{ID: id, ARN: a.arn("subnet", id), State: stateAvailable, Owner: a.r.opt.AccountID, VPC: a.vpcID(),
			CIDR: []string{"172.31.0.0/20", "172.31.16.0/20", "172.31.32.0/20"}[n], Free: 4091, Zone: z.Name, ZoneID: z.ID, Default: true, PublicIP: true})
	}
	return all
}

func (a *area) describeSubnets(in *describeSubnetsIn) (*describeSubnetsOut, error) {
	all := a.subnets()
	for _, id := range in.IDs {
		if !slices.ContainsFunc(all, func(x subnetXML) bool { return x.ID == id }) {
			return nil, noSubnet(id)
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(x subnetXML) bool { return !has(in.IDs, x.ID) })
	all, err := choose(all, in.Filters, subnetXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeSubnetsOut{}
	out.Subnets.Items, out.Next, err = page(a.r, "DescribeSubnets", in.paged, 5, len(in.IDs) > 0, all, func(x subnetXML) string { return x.Zone })
	return out, err
}

type describeInterfacesIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	IDs     []string `q:"NetworkInterfaceId"`
}

type interfaceXML struct {
	ID              string         `xml:"networkInterfaceId"`
	Subnet          string         `xml:"subnetId"`
	VPC             string         `xml:"vpcId"`
	Description     string         `xml:"description"`
	Owner           string         `xml:"ownerId"`
	Status          string         `xml:"status"`
	MAC             string         `xml:"macAddress"`
	PrivateIP       string         `xml:"privateIpAddress"`
	PrivateName     string         `xml:"privateDnsName"`
	SourceDestCheck bool           `xml:"sourceDestCheck"`
	Groups          list[groupXML] `xml:"groupSet"`
	Attachment      struct {
		ID                  string `xml:"attachmentId"`
		Index               int    `xml:"deviceIndex"`
		Status              string `xml:"status"`
		Attached            string `xml:"attachTime"`
		DeleteOnTermination bool   `xml:"deleteOnTermination"`
	} `xml:"attachment"`
	Type string `xml:"interfaceType"`
}

// card returns the one network interface of an instance.
func (a *area) card(i *instance) interfaceXML {
	x := interfaceXML{ID: a.networkID("eni-", i.ID), Subnet: a.subnetID(i.Zone), VPC: a.vpcID(), Owner: a.r.opt.AccountID, Status: stateInUse, MAC: i.MAC,
		PrivateIP: i.PrivateIP, PrivateName: a.privateName(i), SourceDestCheck: true, Groups: a.groupsOf(i), Type: "interface"}
	t := &x.Attachment
	t.ID, t.Status, t.Attached, t.DeleteOnTermination = a.networkID("eni-attach-", i.ID), stateAttached, stamp(i.Launched), true
	return x
}

// describedInterfaceXML is what DescribeNetworkInterfaces says beside that.
type describedInterfaceXML struct {
	interfaceXML
	Zone     string `xml:"availabilityZone"`
	Instance string `xml:"-"`
}

func (x describedInterfaceXML) attr(name string) ([]string, bool) {
	if name == "group-id" || name == "group-name" {
		var all []string
		for _, g := range x.Groups.Items {
			all = append(all, map[string]string{"group-id": g.ID, "group-name": g.Name}[name])
		}
		return all, true
	}
	return one(map[string]string{"network-interface-id": x.ID, "subnet-id": x.Subnet, "vpc-id": x.VPC, "availability-zone": x.Zone, "status": x.Status,
		"mac-address": x.MAC, "private-ip-address": x.PrivateIP, "attachment.instance-id": x.Instance, "attachment.status": x.Attachment.Status,
		"owner-id": x.Owner, "description": x.Description, "interface-type": x.Type}, name)
}

type describeInterfacesOut struct {
	reply
	Interfaces list[describedInterfaceXML] `xml:"networkInterfaceSet"`
	Next       string                      `xml:"nextToken,omitempty"`
}

func (a *area) describeInterfaces(in *describeInterfacesIn) (*describeInterfacesOut, error) {
	var all []describedInterfaceXML
	for _, i := range a.instances.rows {
		if i.State != stateTerminated {
			all = append(all, describedInterfaceXML{a.card(i), i.Zone, i.ID})
		}
	}
	for _, id := range in.IDs {
		if !slices.ContainsFunc(all, func(x describedInterfaceXML) bool { return x.ID == id }) {
			return nil, errorf("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%.60s' does not exist", id)
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(x describedInterfaceXML) bool { return !has(in.IDs, x.ID) })
	all, err := choose(all, in.Filters, describedInterfaceXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeInterfacesOut{}
	out.Interfaces.Items, out.Next, err = page(a.r, "DescribeNetworkInterfaces", in.paged, 5, len(in.IDs) > 0, all, func(x describedInterfaceXML) string { return x.ID })
	return out, err
}

// interfaceIn is the one network interface that a launch can name.
type interfaceIn struct {
	Index               *int32   `q:"DeviceIndex"`
	Subnet              string   `q:"SubnetId"`
	Groups              []string `q:"SecurityGroupId"`
	Description         string   `q:"Description"`
	DeleteOnTermination *bool    `q:"DeleteOnTermination"`
	PublicIP            *bool    `q:"AssociatePublicIpAddress"` // every instance has one
}

// flatten takes the subnet and the groups from a launch's network interface.
func (in *runInstancesIn) flatten() error {
	switch {
	case len(in.Interfaces) == 0:
		return nil
	case in.Subnet != "" || len(in.Groups)+len(in.GroupNames) > 0:
		return errorf("InvalidParameterCombination", "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request")
	case len(in.Interfaces) > 1 || in.Interfaces[0].Index == nil || *in.Interfaces[0].Index != 0:
		return errorf("Unsupported", "The requested configuration is currently not supported: instances of the local region have one network interface, with the index 0")
	}
	in.Subnet, in.Groups = in.Interfaces[0].Subnet, in.Interfaces[0].Groups
	return nil
}

// groupsOf returns the security groups of an instance.
func (a *area) groupsOf(i *instance) (out list[groupXML]) {
	for _, id := range i.Groups {
		if g := a.groups.rows[id]; g != nil {
			out.Items = append(out.Items, groupXML{g.ID, g.Name})
		}
	}
	return out
}
