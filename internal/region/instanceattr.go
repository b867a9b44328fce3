package region

import (
	"encoding/base64"
	"slices"
)

type instanceAttributeIn struct {
	dryRun
	ID        string `q:"InstanceId"`
	Attribute string `q:"Attribute"`
}

type valueXML[T any] struct {
	Value T `xml:"value"`
}

type instanceAttributeOut struct {
	reply
	ID               string               `xml:"instanceId"`
	Mappings         *list[attachmentXML] `xml:"blockDeviceMapping"`
	Protected        *valueXML[bool]      `xml:"disableApiTermination"`
	ENA              *valueXML[bool]      `xml:"enaSupport"`
	EbsOptimized     *valueXML[bool]      `xml:"ebsOptimized"`
	Groups           *list[groupXML]      `xml:"groupSet"`
	ShutdownBehavior *valueXML[string]    `xml:"instanceInitiatedShutdownBehavior"`
	Type             *valueXML[string]    `xml:"instanceType"`
	RootDevice       *valueXML[string]    `xml:"rootDeviceName"`
	SourceDestCheck  *valueXML[bool]      `xml:"sourceDestCheck"`
	Sriov            *valueXML[string]    `xml:"sriovNetSupport"`
	UserData         *valueXML[string]    `xml:"userData"`
}

func (a *area) describeInstanceAttribute(in *instanceAttributeIn) (*instanceAttributeOut, error) {
	switch "" {
	case in.ID:
		return nil, missing("instanceId")
	case in.Attribute:
		return nil, missing("attribute")
	}
	i, err := a.instance(in.ID)
	if err != nil {
		return nil, err
	}
	out := &instanceAttributeOut{ID: i.ID}
	switch in.Attribute {
	case "blockDeviceMapping":
		x := a.instanceXML(i).Volumes
		out.Mappings = &x
	case "disableApiTermination":
		out.Protected = &valueXML[bool]{i.Protected}
	case "enaSupport":
		out.ENA = &valueXML[bool]{i.Location == ""}
	case "ebsOptimized":
		out.EbsOptimized = &valueXML[bool]{}
	case "groupSet":
		x := a.groupsOf(i)
		out.Groups = &x
	case "instanceInitiatedShutdownBehavior":
		out.ShutdownBehavior = &valueXML[string]{i.ShutdownBehavior}
	case "instanceType":
		out.Type = &valueXML[string]{i.Type}
	case "rootDeviceName":
		out.RootDevice = &valueXML[string]{i.RootDevice}
	case "sourceDestCheck":
		out.SourceDestCheck = &valueXML[bool]{true}
	case "sriovNetSupport":
		out.Sriov = &valueXML[string]{"simple"}
	case "userData":
		out.UserData = &valueXML[string]{base64.StdEncoding.EncodeToString(i.UserData)}
	default:
		return nil, errorf("InvalidParameterValue", "Value (%.60s) for parameter attribute is invalid. Unknown attribute.", in.Attribute)
	}
	return out, in.dry()
}

type boolValueIn struct {
	Value bool `q:"Value"`
}

type stringValueIn struct {
	Value string `q:"Value"`
}

type modifyInstanceAttributeIn struct {
	dryRun
	ID               string         `q:"InstanceId"`
	Protected        *boolValueIn   `q:"DisableApiTermination"`
	ENA              *boolValueIn   `q:"EnaSupport"`
	Sriov            *stringValueIn `q:"SriovNetSupport"`
	ShutdownBehavior *stringValueIn `q:"InstanceInitiatedShutdownBehavior"`
	Type             *stringValueIn `q:"InstanceType"`
	UserData         *stringValueIn `q:"UserData"`
	Groups           []string       `q:"GroupId"`
	Mappings         []struct {
		Device string `q:"DeviceName"`
		EBS    struct {
			DeleteOnTermination *bool  `q:"DeleteOnTermination"`
			Volume              string `q:"VolumeId"`
		} `q:"Ebs"`
	} `q:"BlockDeviceMapping"`
}

// modifyInstanceAttribute changes an instance. What its machine is made of can be changed while it is stopped.
func (a *area) modifyInstanceAttribute(in *modifyInstanceAttributeIn) (*done, error) {
	if in.ID == "" {
		return nil, missing("instanceId")
	}
	i, err := a.instance(in.ID)
	if err != nil {
		return nil, err
	}
	if err := in.check(a, i); err != nil {
		return nil, err
	}
	userData := i.UserData
	if in.UserData != nil {
		if userData, err = (&runInstancesIn{UserData: in.UserData.Value}).userData(); err != nil {
			return nil, err
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	next := *i
	next.UserData = userData
	if in.Protected != nil {
		next.Protected = in.Protected.Value
	}
	if in.ShutdownBehavior != nil {
		next.ShutdownBehavior = in.ShutdownBehavior.Value
	}
	if in.Type != nil {
		next.Type = in.Type.Value
	}
	if len(in.Groups) > 0 {
		next.Groups = in.Groups
	}
	for _, v := range a.attached(i) {
		for _, m := range in.Mappings {
			if m.Device == v.Attachment.Device && m.EBS.DeleteOnTermination != nil {
				if err := set(a.volumes, v.ID, v, &v.DeleteOnTermination, *m.EBS.DeleteOnTermination); err != nil {
					return nil, err
				}
			}
		}
	}
	return &done{Return: true}, set(a.instances, i.ID, i, i, next)
}

func (in *modifyInstanceAttributeIn) check(a *area, i *instance) error {
	named := 0
	for _, given := range []bool{in.Protected != nil, in.ENA != nil, in.Sriov != nil, in.ShutdownBehavior != nil, in.Type != nil, in.UserData != nil,
		len(in.Groups) > 0, len(in.Mappings) > 0} {
		if given {
			named++
		}
	}
	atRest := in.ENA != nil || in.Sriov != nil || in.Type != nil || in.UserData != nil
	switch {
	case named == 0:
		return errorf("InvalidParameterCombination", "No attributes specified.")
	case named > 1:
		return errorf("InvalidParameterCombination", "Fields for multiple attribute types specified")
	case atRest && i.State != stateStopped:
		return errorf("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", i.ID)
	case in.ENA != nil && !in.ENA.Value:
		return errorf("InvalidParameterCombination", "The instance type %s requires ENA", i.Type)
	case in.Sriov != nil && in.Sriov.Value != "simple":
		return errorf("InvalidParameterValue", "Value (%.40s) for parameter sriovNetSupport is invalid. Valid values: simple", in.Sriov.Value)
	case in.ShutdownBehavior != nil && !slices.Contains([]string{"stop", "terminate"}, in.ShutdownBehavior.Value):
		return errorf("InvalidParameterValue", "Invalid value '%.40s' for InstanceInitiatedShutdownBehavior", in.ShutdownBehavior.Value)
	}
	if in.Type != nil {
		t, err := lookupType(in.Type.Value)
		if err != nil {
			return err
		}
		if t.arch != i.Architecture || t.store {
			return errorf("InvalidParameterCombination", "The instance type %s does not fit the instance's architecture and root device", in.Type.Value)
		}
	}
	for _, g := range in.Groups {
		if _, err := a.group(g, ""); err != nil {
			return err
		}
	}
	for _, m := range in.Mappings {
		if !slices.ContainsFunc(a.attached(i), func(v *volume) bool { return v.Attachment.Device == m.Device }) {
			return errorf("InvalidInstanceAttributeValue", "No device is currently mapped at %.60s", m.Device)
		}
	}
	return nil
}
