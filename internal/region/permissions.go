package region

import (
	"regexp"
	"slices"
)

// grant is whom an image or a snapshot is shared with: everybody, an account, or accounts of an organization.
type grant struct {
	Group   string `q:"Group" xml:"group,omitempty"`
	UserID  string `q:"UserId" xml:"userId,omitempty"`
	Org     string `q:"OrganizationArn" xml:"organizationArn,omitempty"`
	OrgUnit string `q:"OrganizationalUnitArn" xml:"organizationalUnitArn,omitempty"`
}

// permissions are the grants of an image or a snapshot.
type permissions struct {
	Public         bool
	Users          []string // accounts
	Orgs, OrgUnits []string // by their ARNs
}

// change is what a request wants of permissions.
type change struct {
	Add    []grant `q:"Add"`
	Remove []grant `q:"Remove"`
}

// oldChange is the older way to say it, in which Attribute names what the lists are for.
type oldChange struct {
	Operation string   `q:"OperationType"`
	Groups    []string `q:"UserGroup"`
	Users     []string `q:"UserId"`
}

var (
	accountID = regexp.MustCompile(`^[0-9]{12}$`)
	orgARN    = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:organization/o-[a-z0-9]{10,32}$`)
	unitARN   = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:ou/o-[a-z0-9]{10,32}/ou-[a-z0-9]{4,32}-[a-z0-9]{8,32}$`)
)

func (o oldChange) list() []grant {
	var all []grant
	for _, g := range o.Groups {
		all = append(all, grant{Group: g})
	}
	for _, u := range o.Users {
		all = append(all, grant{UserID: u})
	}
	return all
}

func (c *change) empty() bool { return len(c.Add)+len(c.Remove) == 0 }

// add takes the grants of the older way in.
func (c *change) add(operation string, grants []grant) error {
	switch operation {
	case "add":
		c.Add = append(c.Add, grants...)
	case "remove":
		c.Remove = append(c.Remove, grants...)
	case "":
		if len(grants) > 0 {
			return missing("OperationType")
		}
	default:
		return errorf("InvalidParameterValue", "Value (%.40s) for parameter operationType is invalid.", operation)
	}
	return nil
}

func (p permissions) clone() permissions {
	return permissions{p.Public, slices.Clone(p.Users), slices.Clone(p.Orgs), slices.Clone(p.OrgUnits)}
}

func (p permissions) targets() int { return len(p.Users) + len(p.Orgs) + len(p.OrgUnits) }

func (p permissions) list() []grant {
	var all []grant
	if p.Public {
		all = append(all, grant{Group: "all"})
	}
	for _, u := range p.Users {
		all = append(all, grant{UserID: u})
	}
	for _, o := range p.Orgs {
		all = append(all, grant{Org: o})
	}
	for _, o := range p.OrgUnits {
		all = append(all, grant{OrgUnit: o})
	}
	return all
}

// apply changes permissions. check judges a grant.
func (p *permissions) apply(c change, check func(grant) error) error {
	for _, g := range slices.Concat(c.Add, c.Remove) {
		if err := check(g); err != nil {
			return err
		}
	}
	for _, g := range c.Add {
		p.set(g, true)
	}
	for _, g := range c.Remove {
		p.set(g, false)
	}
	return nil
}

func (p *permissions) set(g grant, give bool) {
	if g.Group != "" {
		p.Public = give
	}
	for _, l := range []struct {
		list *[]string
		item string
	}{{&p.Users, g.UserID}, {&p.Orgs, g.Org}, {&p.OrgUnits, g.OrgUnit}} {
		if l.item == "" {
			continue
		}
		*l.list = slices.DeleteFunc(*l.list, func(s string) bool { return s == l.item })
		if give {
			*l.list = append(*l.list, l.item)
		}
	}
}

// checkLaunch judges a grant of a launch permission.
func checkLaunch(g grant) error {
	for _, item := range []struct {
		kind, value string
		ok          bool
	}{
		{"group", g.Group, g.Group == "all"},
		{"userId", g.UserID, accountID.MatchString(g.UserID)},
		{"organizationArn", g.Org, orgARN.MatchString(g.Org)},
		{"organizationalUnitArn", g.OrgUnit, unitARN.MatchString(g.OrgUnit)},
	} {
		if item.value != "" && !item.ok {
			return errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%.100s\" for %s item type.", item.value, item.kind)
		}
	}
	if g == (grant{}) {
		return errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value \"\" for userId item type.")
	}
	return nil
}

// mayShare says whether an image may be shared as next says, when it is shared as i says.
func (a *area) mayShare(i, next *image) error {
	wider := next.Public && !i.Public || next.targets() > i.targets()
	if !wider {
		return nil
	}
	for _, m := range i.Mappings {
		if m.EBS == nil || !m.EBS.Encrypted {
			continue
		}
		if s := a.snapshots.rows[m.EBS.Snapshot]; next.Public || s != nil && s.KmsKey == a.managedKey() {
			return errorf("InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can't be shared, and no encrypted one can be public. Specify another snapshot.")
		}
	}
	if limit := a.quota(quotaShareTargets); next.targets() > limit {
		return errorf("ResourceLimitExceeded", "The image '%s' is shared with %d accounts and organizations; the limit is %d", i.ID, next.targets(), limit)
	}
	if !next.Public || i.Public {
		return nil
	}
	if a.imageBlock() != unblocked {
		return errorf("OperationNotPermitted", "You can't publicly share this image because block public access is enabled for AMIs in this Region. "+
			"To share it, disable block public access for AMIs.")
	}
	public := 0
	for _, o := range a.images.rows {
		if o.registered() && o.Public {
			public++
		}
	}
	if limit := a.quota(quotaPublicImages); public >= limit {
		return errorf("ResourceLimitExceeded", "You have reached your quota of %d for the number of public images allowed in this Region. "+
			"Deregister unused public images, or request an increase in your public AMIs quota.", limit)
	}
	return nil
}
