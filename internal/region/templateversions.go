package region

import (
	"fmt"
	"math"
	"slices"
)

type describeVersionsIn struct {
	dryRun
	paged
	templateName
	Filters  []filter `q:"Filter"`
	Versions []string `q:"LaunchTemplateVersion"`
	Min      *int64   `q:"MinVersion"`
	Max      *int64   `q:"MaxVersion"`
}

type templateVersionXML struct {
	ID          string          `xml:"launchTemplateId"`
	Name        string          `xml:"launchTemplateName"`
	Number      int64           `xml:"versionNumber"`
	Description string          `xml:"versionDescription,omitempty"`
	Created     string          `xml:"createTime"`
	By          string          `xml:"createdBy"`
	Default     bool            `xml:"defaultVersion"`
	Data        templateDataXML `xml:"launchTemplateData"`
}

type templateMappingXML struct {
	Device  string       `xml:"deviceName"`
	Virtual string       `xml:"virtualName,omitempty"`
	EBS     *templateEBS `xml:"ebs"`
	No      *string      `xml:"noDevice"`
}

type templateEBS struct {
	DeleteOnTermination *bool  `xml:"deleteOnTermination"`
	IOPS                *int32 `xml:"iops"`
	Snapshot            string `xml:"snapshotId,omitempty"`
	Size                *int64 `xml:"volumeSize"`
	Type                string `xml:"volumeType,omitempty"`
	KmsKey              string `xml:"kmsKeyId,omitempty"`
	Throughput          *int32 `xml:"throughput"`
	Encrypted           *bool  `xml:"encrypted"`
}

type templateTagsXML struct {
	Type string `xml:"resourceType"`
	Tags []tag  `xml:"tagSet>item"`
}

type templateDataXML struct {
	EbsOptimized     *bool                `xml:"ebsOptimized"`
	Mappings         []templateMappingXML `xml:"blockDeviceMappingSet>item,omitempty"`
	Image            string               `xml:"imageId,omitempty"`
	Type             string               `xml:"instanceType,omitempty"`
	Key              string               `xml:"keyName,omitempty"`
	Placement        *templatePlacement   `xml:"placement"`
	Protected        *bool                `xml:"disableApiTermination"`
	ShutdownBehavior string               `xml:"instanceInitiatedShutdownBehavior,omitempty"`
	UserData         string               `xml:"userData,omitempty"`
	Specs            []templateTagsXML    `xml:"tagSpecificationSet>item,omitempty"`
	Groups           []string             `xml:"securityGroupIdSet>item,omitempty"`
	Metadata         *templateMetadata    `xml:"metadataOptions"`
}

type templatePlacement struct {
	Zone    string `xml:"availabilityZone,omitempty"`
	Tenancy string `xml:"tenancy,omitempty"`
}

type templateMetadata struct {
	Tokens   string `xml:"httpTokens,omitempty"`
	HopLimit int32  `xml:"httpPutResponseHopLimit,omitempty"`
	Endpoint string `xml:"httpEndpoint,omitempty"`
	IPv6     string `xml:"httpProtocolIpv6,omitempty"`
	Tags     string `xml:"instanceMetadataTags,omitempty"`
}

func (a *area) versionXML(t *launchTemplate, v *templateVersion) templateVersionXML {
	d := &v.Data
	x := templateVersionXML{ID: t.ID, Name: t.Name, Number: v.Number, Description: v.Description, Created: stamp(v.Created), By: a.caller(), Default: v.Number == t.Default,
		Data: templateDataXML{EbsOptimized: d.EbsOptimized, Image: d.Image, Type: d.Type, Key: d.Key, Protected: d.Protected,
			ShutdownBehavior: d.ShutdownBehavior, UserData: d.UserData, Groups: d.Groups}}
	if d.Placement != (placementIn{}) {
		x.Data.Placement = (*templatePlacement)(&d.Placement)
	}
	if d.Metadata != (metadataIn{}) {
		x.Data.Metadata = (*templateMetadata)(&d.Metadata)
	}
	for _, s := range d.Specs {
		x.Data.Specs = append(x.Data.Specs, templateTagsXML{s.ResourceType, s.Tags})
	}
	for _, m := range d.Mappings {
		mx := templateMappingXML{Device: m.Device, Virtual: m.Virtual, No: m.No}
		if m.EBS != nil {
			ebs := templateEBS(*m.EBS)
			mx.EBS = &ebs
		}
		x.Data.Mappings = append(x.Data.Mappings, mx)
	}
	return x
}

func (x templateVersionXML) attr(name string) ([]string, bool) {
	isDefault := "false"
	if x.Default {
		isDefault = "true"
	}
	return one(map[string]string{"image-id": x.Data.Image, "instance-type": x.Data.Type, "create-time": x.Created, "is-default-version": isDefault}, name)
}

type describeVersionsOut struct {
	reply
	Versions list[templateVersionXML] `xml:"launchTemplateVersionSet"`
	Next     string                   `xml:"nextToken,omitempty"`
}

// describeVersions describes versions of one template or, where it names none, the $Latest and $Default ones of all.
func (a *area) describeVersions(in *describeVersionsIn) (*describeVersionsOut, error) {
	var all []templateVersionXML
	if in.ID == "" && in.Name == "" {
		for _, name := range in.Versions {
			if name != "$Latest" && name != "$Default" {
				return nil, errorf("InvalidParameterValue", "Without a launch template, the versions $Latest and $Default alone can be described")
			}
			for _, t := range a.templates.rows {
				all = append(all, a.versionXML(t, t.version(name)))
			}
		}
		if len(in.Versions) == 0 {
			return nil, errorf("MissingParameter", "A launch template's id or name, or the versions $Latest and $Default, are required")
		}
	} else {
		t, err := a.template(in.templateName)
		if err != nil {
			return nil, err
		}
		for _, name := range in.Versions {
			v := t.version(name)
			if v == nil {
				return nil, noVersion(t, name)
			}
			all = append(all, a.versionXML(t, v))
		}
		for n := range t.Versions {
			if len(in.Versions) == 0 {
				all = append(all, a.versionXML(t, &t.Versions[n]))
			}
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(x templateVersionXML) bool {
		return in.Min != nil && x.Number < *in.Min || in.Max != nil && x.Number > *in.Max
	})
	all, err := choose(all, in.Filters, templateVersionXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeVersionsOut{}
	out.Versions.Items, out.Next, err = page(a.r, "DescribeLaunchTemplateVersions", in.paged, 1, false, all, func(x templateVersionXML) string {
		return fmt.Sprintf("%019d%s", math.MaxInt64-x.Number, x.ID) // the newest first
	})
	return out, err
}

// fromTemplate fills in from a launch template what a launch does not say.
func (in *runInstancesIn) fromTemplate(a *area) error {
	if in.Template == (templateVersionName{}) {
		return nil
	}
	t, err := a.template(in.Template.templateName)
	if err != nil {
		return err
	}
	v := t.version(in.Template.Version)
	if v == nil {
		return noVersion(t, in.Template.Version)
	}
	said := templateData{Image: in.Image, Type: in.Type, Key: in.Key, UserData: in.UserData, Groups: in.Groups, Mappings: in.Mappings, Specs: in.Specs,
		EbsOptimized: in.EbsOptimized, Protected: in.Protected, ShutdownBehavior: in.ShutdownBehavior, Placement: in.Placement, Metadata: in.Metadata}.over(v.Data)
	if in.Subnet != "" || len(in.GroupNames) > 0 || len(in.Interfaces) > 0 {
		said.Groups = in.Groups
	}
	in.Image, in.Type, in.Key, in.UserData, in.Groups, in.Mappings, in.Specs = said.Image, said.Type, said.Key, said.UserData, said.Groups, said.Mappings, said.Specs
	in.EbsOptimized, in.Protected, in.ShutdownBehavior, in.Placement, in.Metadata = said.EbsOptimized, said.Protected, said.ShutdownBehavior, said.Placement, said.Metadata
	return nil
}

// templateVersionName is how a launch names a version of a template.
type templateVersionName struct {
	templateName
	Version string `q:"Version"`
}
