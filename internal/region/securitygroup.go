package region

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// securityGroup is kept and described. Its rules mean nothing here: an instance can be reached on its SSH port, by this machine alone.
type securityGroup struct {
	ID, Name, Description string
	Rules                 []groupRule
	Tags                  map[string]string
}

// groupRule is a rule of a security group, for one source or destination.
type groupRule struct {
	ID, Description string
	Egress          bool
	Protocol        string // a name, a number, or -1 for all
	From, To        int32  // ports, or type and code of ICMP; -1: all
	CIDR, CIDR6     string
	Group           string // an id: what is in that group
}

// same says whether two rules are about the same.
func (r groupRule) same(o groupRule) bool {
	r.ID, r.Description, o.ID, o.Description = "", "", "", ""
	return r == o
}

// addDefaultGroup makes the security group that every VPC has. It is written down when it changes.
func (a *area) addDefaultGroup() {
	id := a.defaultGroup()
	if a.groups.rows[id] == nil {
		a.groups.rows[id] = &securityGroup{ID: id, Name: "default", Description: "default VPC security group", Tags: map[string]string{},
			Rules: []groupRule{{ID: newID("sgr-"), Protocol: "-1", From: -1, To: -1, Group: id}, allOut()}}
	}
}

func allOut() groupRule {
	return groupRule{ID: newID("sgr-"), Egress: true, Protocol: "-1", From: -1, To: -1, CIDR: "0.0.0.0/0"}
}

func (a *area) groupNamed(name string) *securityGroup {
	for _, g := range a.groups.rows {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// group returns the security group that a request names by its id or, where it has none, its name.
func (a *area) group(id, name string) (*securityGroup, error) {
	switch {
	case id == "" && name == "":
		return nil, errorf("MissingParameter", "The request must contain the parameter groupName or groupId")
	case id == "":
		if g := a.groupNamed(name); g != nil {
			return g, nil
		}
		return nil, errorf("InvalidGroup.NotFound", "The security group '%.300s' does not exist in default VPC '%s'", name, a.vpcID())
	case !validID("sg-", id):
		return nil, errorf("InvalidGroupId.Malformed", "Invalid id: \"%.100s\"", id)
	}
	if g := a.groups.rows[id]; g != nil {
		return g, nil
	}
	return nil, errorf("InvalidGroup.NotFound", "The security group '%.60s' does not exist", id)
}

// groupText is what the name and the description of a security group may be made of.
var groupText = regexp.MustCompile(`^[A-Za-z0-9 ._:/()#,@\[\]+=&;{}!$*-]+$`)

type createGroupIn struct {
	dryRun
	Name        string    `q:"GroupName"`
	Description string    `q:"GroupDescription"`
	VPC         string    `q:"VpcId"`
	Specs       []tagSpec `q:"TagSpecification"`
}

type createGroupOut struct {
	done
	ID   string `xml:"groupId"`
	Tags []tag  `xml:"tagSet>item,omitempty"`
}

func (a *area) createGroup(in *createGroupIn) (*createGroupOut, error) {
	tags, err := specTags(in.Specs, "security-group")
	if err != nil {
		return nil, err
	}
	invalid := func(format string, args ...any) error { return errorf("InvalidParameterValue", format, args...) }
	switch {
	case in.Name == "":
		return nil, missing("GroupName")
	case in.Description == "":
		return nil, missing("GroupDescription")
	case in.VPC != "" && in.VPC != a.vpcID():
		return nil, noVPC(in.VPC)
	case strings.HasPrefix(in.Name, "sg-"):
		return nil, invalid("Invalid value '%.60s' for groupName. Cannot use a name that begins with sg-", in.Name)
	case len(in.Name) > 255 || len(in.Description) > 255:
		return nil, invalid("The name or the description of the group is longer than 255 characters")
	case !groupText.MatchString(in.Name) || !groupText.MatchString(in.Description):
		return nil, invalid("Invalid security group name or description. Valid ones are made of the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*")
	case in.Name == "default":
		return nil, errorf("InvalidGroup.Reserved", "The security group name 'default' is reserved")
	case a.groupNamed(in.Name) != nil:
		return nil, errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", in.Name, a.vpcID())
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	g := &securityGroup{ID: a.groups.newID(), Name: in.Name, Description: in.Description, Rules: []groupRule{allOut()}, Tags: tags["security-group"]}
	return &createGroupOut{done{Return: true}, g.ID, tagSet(g.Tags)}, a.groups.put(g.ID, g)
}

type deleteGroupIn struct {
	dryRun
	ID   string `q:"GroupId"`
	Name string `q:"GroupName"`
}

func (a *area) deleteGroup(in *deleteGroupIn) (*done, error) {
	g, err := a.group(in.ID, in.Name)
	if err != nil {
		return nil, err
	}
	if g.ID == a.defaultGroup() {
		return nil, errorf("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.ID)
	}
	for _, i := range a.instances.rows {
		if i.State != stateTerminated && slices.Contains(i.Groups, g.ID) {
			return nil, errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
		}
	}
	for _, o := range a.groups.rows {
		if o != g && slices.ContainsFunc(o.Rules, func(r groupRule) bool { return r.Group == g.ID }) {
			return nil, errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &done{Return: true}, a.groups.drop(g.ID)
}

type rangeXML struct {
	CIDR        string `xml:"cidrIp,omitempty"`
	CIDR6       string `xml:"cidrIpv6,omitempty"`
	Description string `xml:"description,omitempty"`
}

type pairXML struct {
	User        string `xml:"userId"`
	Group       string `xml:"groupId"`
	Description string `xml:"description,omitempty"`
}

type permissionXML struct {
	Protocol string         `xml:"ipProtocol"`
	From     *int32         `xml:"fromPort"`
	To       *int32         `xml:"toPort"`
	Groups   list[pairXML]  `xml:"groups"`
	Ranges   list[rangeXML] `xml:"ipRanges"`
	Ranges6  list[rangeXML] `xml:"ipv6Ranges"`
	Lists    struct{}       `xml:"prefixListIds"`
}

type securityGroupXML struct {
	Owner       string              `xml:"ownerId"`
	ID          string              `xml:"groupId"`
	Name        string              `xml:"groupName"`
	Description string              `xml:"groupDescription"`
	VPC         string              `xml:"vpcId"`
	Ingress     list[permissionXML] `xml:"ipPermissions"`
	Egress      list[permissionXML] `xml:"ipPermissionsEgress"`
	Tags        []tag               `xml:"tagSet>item,omitempty"`
}

func (a *area) groupXML(g *securityGroup) securityGroupXML {
	x := securityGroupXML{Owner: a.r.opt.AccountID, ID: g.ID, Name: g.Name, Description: g.Description, VPC: a.vpcID(), Tags: tagSet(g.Tags)}
	for _, r := range g.Rules {
		into := &x.Ingress.Items
		if r.Egress {
			into = &x.Egress.Items
		}
		at := slices.IndexFunc(*into, func(p permissionXML) bool {
			return p.Protocol == r.Protocol && (p.From == nil || *p.From == r.From && *p.To == r.To)
		})
		if at < 0 {
			p := permissionXML{Protocol: r.Protocol}
			if r.Protocol != "-1" {
				p.From, p.To = &r.From, &r.To
			}
			at, *into = len(*into), append(*into, p)
		}
		p := &(*into)[at]
		switch {
		case r.Group != "":
			p.Groups.Items = append(p.Groups.Items, pairXML{a.r.opt.AccountID, r.Group, r.Description})
		case r.CIDR6 != "":
			p.Ranges6.Items = append(p.Ranges6.Items, rangeXML{CIDR6: r.CIDR6, Description: r.Description})
		default:
			p.Ranges.Items = append(p.Ranges.Items, rangeXML{CIDR: r.CIDR, Description: r.Description})
		}
	}
	return x
}

func (x securityGroupXML) attr(name string) ([]string, bool) {
	if v, ok := one(map[string]string{"group-id": x.ID, "group-name": x.Name, "description": x.Description, "owner-id": x.Owner, "vpc-id": x.VPC}, name); ok {
		return v, ok
	}
	return tagAttr(tagMap(x.Tags), name)
}

type describeGroupsIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	IDs     []string `q:"GroupId"`
	Names   []string `q:"GroupName"`
}

type describeGroupsOut struct {
	reply
	Groups list[securityGroupXML] `xml:"securityGroupInfo"`
	Next   string                 `xml:"nextToken,omitempty"`
}

func (a *area) describeGroups(in *describeGroupsIn) (*describeGroupsOut, error) {
	for _, id := range in.IDs {
		if _, err := a.group(id, ""); err != nil {
			return nil, err
		}
	}
	for _, name := range in.Names {
		if _, err := a.group("", name); err != nil {
			return nil, err
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	var all []securityGroupXML
	for id, g := range a.groups.rows {
		if has(in.IDs, id) && has(in.Names, g.Name) {
			all = append(all, a.groupXML(g))
		}
	}
	all, err := choose(all, in.Filters, securityGroupXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeGroupsOut{}
	out.Groups.Items, out.Next, err = page(a.r, "DescribeSecurityGroups", in.paged, 5, len(in.IDs) > 0, all, func(x securityGroupXML) string { return x.ID })
	return out, err
}

type permissionIn struct {
	Protocol string `q:"IpProtocol"`
	From     *int32 `q:"FromPort"`
	To       *int32 `q:"ToPort"`
	Ranges   []struct {
		CIDR        string `q:"CidrIp"`
		Description string `q:"Description"`
	} `q:"IpRanges"`
	Ranges6 []struct {
		CIDR        string `q:"CidrIpv6"`
		Description string `q:"Description"`
	} `q:"Ipv6Ranges"`
	Groups []struct {
		Group       string `q:"GroupId"`
		Name        string `q:"GroupName"`
		User        string `q:"UserId"`
		Description string `q:"Description"`
	} `q:"Groups"`
}

// permissionsIn is what all four actions on rules take. Rules have no tags here.
type permissionsIn struct {
	dryRun
	ID          string         `q:"GroupId"`
	Name        string         `q:"GroupName"`
	Permissions []permissionIn `q:"IpPermissions"`
	Protocol    string         `q:"IpProtocol"` // these four are the older way to say the same
	From        *int32         `q:"FromPort"`
	To          *int32         `q:"ToPort"`
	CIDR        string         `q:"CidrIp"`
}

type revokeIn struct {
	permissionsIn
	RuleIDs []string `q:"SecurityGroupRuleId"`
}

var protocols = map[string]string{"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "all": "-1"}

// rules returns the rules that a request is about.
func (in *permissionsIn) rules(a *area, egress bool) (all []groupRule, err error) {
	permissions := in.Permissions
	if in.Protocol != "" || in.CIDR != "" {
		if len(permissions) > 0 {
			return nil, errorf("InvalidParameterCombination", "The parameter ipPermissions cannot be used with the parameter ipProtocol")
		}
		p := permissionIn{Protocol: in.Protocol, From: in.From, To: in.To}
		p.Ranges = append(p.Ranges, struct {
			CIDR        string `q:"CidrIp"`
			Description string `q:"Description"`
		}{CIDR: in.CIDR})
		permissions = []permissionIn{p}
	}
	if len(permissions) == 0 {
		return nil, missing("ipPermissions")
	}
	for _, p := range permissions {
		base, err := p.base()
		if err != nil {
			return nil, err
		}
		base.Egress = egress
		before := len(all)
		for _, r := range p.Ranges {
			next := base
			next.CIDR, next.Description = r.CIDR, r.Description
			if prefix, err := netip.ParsePrefix(r.CIDR); err != nil || !prefix.Addr().Is4() {
				return nil, errorf("InvalidParameterValue", "CIDR block %.60s is malformed", r.CIDR)
			}
			all = append(all, next)
		}
		for _, r := range p.Ranges6 {
			next := base
			next.CIDR6, next.Description = r.CIDR, r.Description
			if prefix, err := netip.ParsePrefix(r.CIDR); err != nil || !prefix.Addr().Is6() {
				return nil, errorf("InvalidParameterValue", "CIDR block %.60s is malformed", r.CIDR)
			}
			all = append(all, next)
		}
		for _, o := range p.Groups {
			g, err := a.group(o.Group, o.Name)
			if err != nil {
				return nil, err
			}
			next := base
			next.Group, next.Description = g.ID, o.Description
			all = append(all, next)
		}
		if len(all) == before {
			return nil, errorf("MissingParameter", "A permission must have a source: IP ranges or groups")
		}
	}
	return all, nil
}

// base returns a permission's protocol and ports.
func (p permissionIn) base() (r groupRule, err error) {
	r = groupRule{Protocol: cmp.Or(protocols[p.Protocol], p.Protocol), From: -1, To: -1}
	if p.From != nil {
		r.From = *p.From
	}
	if p.To != nil {
		r.To = *p.To
	}
	number, notNumber := strconv.Atoi(r.Protocol)
	ports := r.Protocol == "tcp" || r.Protocol == "udp"
	switch {
	case r.Protocol == "":
		return r, missing("ipProtocol")
	case r.Protocol == "-1":
		r.From, r.To = -1, -1
	case !ports && r.Protocol != "icmp" && r.Protocol != "icmpv6" && (notNumber != nil || number < 0 || number > 255):
		return r, errorf("InvalidParameterValue", "Invalid value '%.40s' for IP protocol. Unknown protocol.", p.Protocol)
	case ports && (p.From == nil || p.To == nil):
		return r, errorf("InvalidParameterValue", "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
	case ports && (r.From < 0 || r.To > 65535 || r.From > r.To):
		return r, errorf("InvalidParameterValue", "Invalid value '%d to %d' for portRange. Must be between 0 and 65535, and in order", r.From, r.To)
	}
	return r, nil
}

type ruleXML struct {
	ID          string `xml:"securityGroupRuleId"`
	Group       string `xml:"groupId"`
	Owner       string `xml:"groupOwnerId"`
	Egress      bool   `xml:"isEgress"`
	Protocol    string `xml:"ipProtocol"`
	From        int32  `xml:"fromPort"`
	To          int32  `xml:"toPort"`
	CIDR        string `xml:"cidrIpv4,omitempty"`
	CIDR6       string `xml:"cidrIpv6,omitempty"`
	Source      string `xml:"referencedGroupInfo>groupId,omitempty"`
	Description string `xml:"description,omitempty"`
}

type authorizeOut struct {
	done
	Rules list[ruleXML] `xml:"securityGroupRuleSet"`
}

func (a *area) authorizeIngress(in *permissionsIn) (*authorizeOut, error) {
	return a.authorize(in, false)
}
func (a *area) authorizeEgress(in *permissionsIn) (*authorizeOut, error) {
	return a.authorize(in, true)
}
func (a *area) revokeIngress(in *revokeIn) (*done, error) { return a.revoke(in, false) }
func (a *area) revokeEgress(in *revokeIn) (*done, error)  { return a.revoke(in, true) }

func (a *area) authorize(in *permissionsIn, egress bool) (*authorizeOut, error) {
	g, err := a.group(in.ID, in.Name)
	if err != nil {
		return nil, err
	}
	rules, err := in.rules(a, egress)
	if err != nil {
		return nil, err
	}
	out := &authorizeOut{done: done{Return: true}}
	next := *g
	next.Rules = slices.Clone(g.Rules)
	for _, r := range rules {
		if slices.ContainsFunc(next.Rules, r.same) {
			return nil, errorf("InvalidPermission.Duplicate", "the specified rule \"peer: %s%s%s, %s, from port: %d, to port: %d, ALLOW\" already exists", r.CIDR, r.CIDR6, r.Group,
				strings.ToUpper(r.Protocol), r.From, r.To)
		}
		r.ID = newID("sgr-")
		next.Rules = append(next.Rules, r)
		out.Rules.Items = append(out.Rules.Items, ruleXML{r.ID, g.ID, a.r.opt.AccountID, egress, r.Protocol, r.From, r.To, r.CIDR, r.CIDR6, r.Group, r.Description})
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return out, a.groups.put(g.ID, &next)
}

func (a *area) revoke(in *revokeIn, egress bool) (*done, error) {
	g, err := a.group(in.ID, in.Name)
	if err != nil {
		return nil, err
	}
	next := *g
	next.Rules = slices.Clone(g.Rules)
	drop := func(match func(groupRule) bool, code string) error {
		at := slices.IndexFunc(next.Rules, match)
		if at < 0 {
			return errorf(code, "The specified rule does not exist in this security group.")
		}
		next.Rules = slices.Delete(next.Rules, at, at+1)
		return nil
	}
	for _, id := range in.RuleIDs {
		if err := drop(func(r groupRule) bool { return r.ID == id && r.Egress == egress }, "InvalidSecurityGroupRuleId.NotFound"); err != nil {
			return nil, err
		}
	}
	if len(in.RuleIDs) == 0 {
		rules, err := in.rules(a, egress)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if err := drop(r.same, "InvalidPermission.NotFound"); err != nil {
				return nil, err
			}
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &done{Return: true}, a.groups.put(g.ID, &next)
}
