package region

import (
	"regexp"
	"slices"
	"time"
)

// permission is who may launch an image: everybody, or an account.
type permission struct {
	Group   string `q:"Group" xml:"group,omitempty"`
	UserID  string `q:"UserId" xml:"userId,omitempty"`
	Org     string `q:"OrganizationArn" xml:"organizationArn,omitempty"`
	OrgUnit string `q:"OrganizationalUnitArn" xml:"organizationalUnitArn,omitempty"`
}

// publicLife is how long a public image lasts before it counts as deprecated.
const publicLife = 2 * 365 * 24 * time.Hour

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

type attributeValue struct {
	Value *string `q:"Value" xml:"value"`
}

type modifyImageAttributeIn struct {
	dryRun
	ID          string          `q:"ImageId"`
	Attribute   string          `q:"Attribute"`
	Description *attributeValue `q:"Description"`
	Permission  struct {
		Add    []permission `q:"Add"`
		Remove []permission `q:"Remove"`
	} `q:"LaunchPermission"`
	Operation string   `q:"OperationType"`
	Groups    []string `q:"UserGroup"`
	Users     []string `q:"UserId"`
	Value     string   `q:"Value"`
}

func (a *area) modifyImageAttribute(in *modifyImageAttributeIn) (*done, error) {
	i, err := a.available(in.ID)
	if err != nil {
		return nil, err
	}
	next := *i
	next.Users = slices.Clone(i.Users)
	if err := in.apply(&next); err != nil {
		return nil, err
	}
	if next.Public && !i.Public {
		for _, m := range i.Mappings {
			if m.EBS != nil && m.EBS.Encrypted {
				return nil, errorf("InvalidParameter", "The image '%s' has an encrypted snapshot, and cannot be public", i.ID)
			}
		}
		next.Deprecation = i.Created.Add(publicLife)
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &done{Return: true}, a.images.put(i.ID, &next)
}

// apply changes an image as the request says, in the new form (one parameter for each attribute) or the old
// one (Attribute names it).
func (in *modifyImageAttributeIn) apply(i *image) error {
	add, remove := in.Permission.Add, in.Permission.Remove
	switch in.Attribute {
	case "":
	case "description":
		if in.Value != "" {
			in.Description = &attributeValue{&in.Value}
		}
	case "launchPermission":
		var list []permission
		for _, g := range in.Groups {
			list = append(list, permission{Group: g})
		}
		for _, u := range in.Users {
			list = append(list, permission{UserID: u})
		}
		switch in.Operation {
		case "add":
			add = append(add, list...)
		case "remove":
			remove = append(remove, list...)
		case "":
		default:
			return errorf("InvalidParameterValue", "Value (%.40s) for parameter operationType is invalid.", in.Operation)
		}
	default:
		return errorf("InvalidParameterValue", "Value (%.60s) for parameter attribute is invalid. Unknown attribute.", in.Attribute)
	}
	if len(add)+len(remove) == 0 && in.Description == nil {
		return errorf("InvalidParameterCombination", "No attributes specified.")
	}
	for _, p := range add {
		if err := p.set(i, true); err != nil {
			return err
		}
	}
	for _, p := range remove {
		if err := p.set(i, false); err != nil {
			return err
		}
	}
	if d := in.Description; d != nil {
		if d.Value == nil {
			return missing("Description.Value")
		}
		if len(*d.Value) > 255 {
			return errorf("InvalidParameterValue", "The description is longer than 255 characters")
		}
		i.Description = *d.Value
	}
	return nil
}

// set gives or takes a permission.
func (p permission) set(i *image, give bool) error {
	switch {
	case p.Org != "" || p.OrgUnit != "":
		return errorf("UnsupportedOperation", "The local region has one account, which is in no organization")
	case p.Group == "all":
		i.Public = give
	case p.Group != "":
		return errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%.60s\" for group item type.", p.Group)
	case !accountID.MatchString(p.UserID):
		return errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%.60s\" for userId item type.", p.UserID)
	default:
		i.Users = slices.DeleteFunc(i.Users, func(u string) bool { return u == p.UserID })
		if give {
			i.Users = append(i.Users, p.UserID)
		}
	}
	return nil
}

type describeImageAttributeIn struct {
	dryRun
	ID        string `q:"ImageId"`
	Attribute string `q:"Attribute"`
}

type describeImageAttributeOut struct {
	reply
	ID          string            `xml:"imageId"`
	Mappings    *list[mappingXML] `xml:"blockDeviceMapping"`
	Permissions *list[permission] `xml:"launchPermission"`
	Products    *struct{}         `xml:"productCodes"`
	Description *attributeValue   `xml:"description"`
	Kernel      *attributeValue   `xml:"kernel"`
	Ramdisk     *attributeValue   `xml:"ramdisk"`
	Sriov       *attributeValue   `xml:"sriovNetSupport"`
	BootMode    *attributeValue   `xml:"bootMode"`
	TPM         *attributeValue   `xml:"tpmSupport"`
	UefiData    *attributeValue   `xml:"uefiData"`
	LastLaunch  *attributeValue   `xml:"lastLaunchedTime"`
	IMDS        *attributeValue   `xml:"imdsSupport"`
}

func (a *area) describeImageAttribute(in *describeImageAttributeIn) (*describeImageAttributeOut, error) {
	i, err := a.available(in.ID)
	if err != nil {
		return nil, err
	}
	out := &describeImageAttributeOut{ID: i.ID}
	value := func(s string) *attributeValue {
		if s == "" {
			return &attributeValue{}
		}
		return &attributeValue{&s}
	}
	switch in.Attribute {
	case "":
		return nil, missing("Attribute")
	case "blockDeviceMapping":
		out.Mappings = &list[mappingXML]{i.mappingsXML()}
	case "launchPermission":
		out.Permissions = &list[permission]{}
		if i.Public {
			out.Permissions.Items = append(out.Permissions.Items, permission{Group: "all"})
		}
		for _, u := range i.Users {
			out.Permissions.Items = append(out.Permissions.Items, permission{UserID: u})
		}
	case "productCodes":
		out.Products = &struct{}{}
	case "description":
		out.Description = value(i.Description)
	case "kernel":
		out.Kernel = value("")
	case "ramdisk":
		out.Ramdisk = value("")
	case "sriovNetSupport":
		out.Sriov = value(i.Sriov)
	case "bootMode":
		out.BootMode = value(i.BootMode)
	case "tpmSupport":
		out.TPM = value(i.TPM)
	case "uefiData":
		out.UefiData = value(i.UefiData)
	case "imdsSupport":
		out.IMDS = value(i.IMDS)
	case "lastLaunchedTime":
		out.LastLaunch = value("")
		if !i.LastLaunch.IsZero() {
			out.LastLaunch = value(stamp(i.LastLaunch))
		}
	default:
		return nil, errorf("InvalidParameterValue", "Value (%.60s) for parameter attribute is invalid. Unknown attribute.", in.Attribute)
	}
	return out, in.dry()
}
