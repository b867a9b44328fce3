package region

import (
	"time"
)

// publicLife is how long a public image lasts before it counts as deprecated.
const publicLife = 2 * 365 * 24 * time.Hour

type attributeValue struct {
	Value *string `q:"Value" xml:"value"`
}

type modifyImageAttributeIn struct {
	dryRun
	ID          string          `q:"ImageId"`
	Attribute   string          `q:"Attribute"`
	Description *attributeValue `q:"Description"`
	IMDS        *attributeValue `q:"ImdsSupport"`
	Products    []string        `q:"ProductCode"`
	Permission  change          `q:"LaunchPermission"`
	oldChange
	Orgs     []string `q:"OrganizationArn"`
	OrgUnits []string `q:"OrganizationalUnitArn"`
	Value    string   `q:"Value"`
}

func (a *area) modifyImageAttribute(in *modifyImageAttributeIn) (*done, error) {
	i, err := a.available(in.ID)
	if err != nil {
		return nil, err
	}
	next := *i
	next.permissions = i.clone()
	if err := in.apply(&next); err != nil {
		return nil, err
	}
	if err := a.mayShare(i, &next); err != nil {
		return nil, err
	}
	if next.Public && !i.Public {
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
	permission := in.Permission
	switch in.Attribute {
	case "":
	case "description":
		if in.Value != "" {
			in.Description = &attributeValue{&in.Value}
		}
	case "imdsSupport":
		if in.Value != "" {
			in.IMDS = &attributeValue{&in.Value}
		}
	case "launchPermission":
		list := in.oldChange.list()
		for _, o := range in.Orgs {
			list = append(list, grant{Org: o})
		}
		for _, o := range in.OrgUnits {
			list = append(list, grant{OrgUnit: o})
		}
		if err := permission.add(in.Operation, list); err != nil {
			return err
		}
	default:
		return unknownAttribute(in.Attribute)
	}
	if len(in.Products) > 0 {
		return errorf("OperationNotPermitted", "The account may not use product codes")
	}
	if permission.empty() && in.Description == nil && in.IMDS == nil {
		return errorf("InvalidParameterCombination", "No attributes specified.")
	}
	if err := i.apply(permission, checkLaunch); err != nil {
		return err
	}
	if v := in.IMDS; v != nil {
		if v.Value == nil || *v.Value != "v2.0" {
			return errorf("InvalidParameterValue", "Value for parameter imdsSupport is invalid. Valid values: v2.0")
		}
		i.IMDS = *v.Value
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

func unknownAttribute(name string) error {
	return errorf("InvalidParameterValue", "Value (%.60s) for parameter attribute is invalid. Unknown attribute.", name)
}

type imageAttributeIn struct {
	dryRun
	ID        string `q:"ImageId"`
	Attribute string `q:"Attribute"`
}

// resetImageAttribute takes all launch permissions away; no other attribute can be reset.
func (a *area) resetImageAttribute(in *imageAttributeIn) (*done, error) {
	i, err := a.available(in.ID)
	switch {
	case err != nil:
		return nil, err
	case in.Attribute == "":
		return nil, missing("Attribute")
	case in.Attribute != "launchPermission":
		return nil, unknownAttribute(in.Attribute)
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	next := *i
	next.permissions = permissions{}
	return &done{Return: true}, a.images.put(i.ID, &next)
}

type describeImageAttributeOut struct {
	reply
	ID          string            `xml:"imageId"`
	Mappings    *list[mappingXML] `xml:"blockDeviceMapping"`
	Permissions *list[grant]      `xml:"launchPermission"`
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
	Protection  *attributeValue   `xml:"deregistrationProtection"`
}

func (a *area) describeImageAttribute(in *imageAttributeIn) (*describeImageAttributeOut, error) {
	i, err := a.owned(in.ID)
	if err != nil {
		return nil, err
	}
	i = a.seen(i)
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
		out.Permissions = &list[grant]{i.list()}
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
	case "deregistrationProtection":
		out.Protection = value(i.protection(a.r.opt.Now()))
	case "lastLaunchedTime":
		out.LastLaunch = value("")
		if !i.LastLaunch.IsZero() {
			out.LastLaunch = value(stamp(i.LastLaunch))
		}
	default:
		return nil, unknownAttribute(in.Attribute)
	}
	return out, in.dry()
}
