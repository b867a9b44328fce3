package region

import "slices"

// reference is what DescribeImageReferences finds: something of the account that names an image.
type reference struct {
	Image string `xml:"imageId"`
	Type  string `xml:"resourceType"`
	ARN   string `xml:"arn"`
}

// referenceTypes are the types of resources that EC2 looks into.
var referenceTypes = []string{"ec2:Instance", "ec2:LaunchTemplate", "ssm:Parameter", "imagebuilder:ImageRecipe", "imagebuilder:ContainerRecipe"}

// versionDepth is how many of a launch template's newest versions are looked at, where a request does not say.
const versionDepth = 20

type describeImageReferencesIn struct {
	dryRun
	paged
	Images []string `q:"ImageId"`
	All    bool     `q:"IncludeAllResourceTypes"`
	Types  []struct {
		Name string `q:"ResourceType"`
	} `q:"ResourceType"`
}

type describeImageReferencesOut struct {
	reply
	References list[reference] `xml:"imageReferenceSet"`
	Next       string          `xml:"nextToken,omitempty"`
}

func (a *area) describeImageReferences(in *describeImageReferencesIn) (*describeImageReferencesOut, error) {
	if len(in.Images) == 0 {
		return nil, missing("ImageId")
	}
	if !in.All && len(in.Types) == 0 {
		return nil, errorf("MissingParameter", "Either IncludeAllResourceTypes or ResourceTypes must be specified")
	}
	wanted := map[string]bool{}
	for _, t := range in.Types {
		if !slices.Contains(referenceTypes, t.Name) {
			return nil, errorf("InvalidParameterValue", "Value (%.60s) for parameter resourceType is invalid.", t.Name)
		}
		wanted[t.Name] = true
	}
	for _, id := range in.Images {
		i, err := a.image(id)
		if err != nil {
			return nil, err
		}
		if !i.registered() {
			return nil, unavailable(id)
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(a.references(), func(r reference) bool {
		return !slices.Contains(in.Images, r.Image) || !in.All && !wanted[r.Type]
	})
	out := &describeImageReferencesOut{}
	var err error
	out.References.Items, out.Next, err = page(a.r, "DescribeImageReferences", in.paged, 1, false, all, func(x reference) string { return x.Image + x.ARN })
	return out, err
}

// references returns all that names an image.
func (a *area) references() (all []reference) {
	for id, i := range a.instances.rows {
		if i.State != stateTerminated {
			all = append(all, reference{i.Image, "ec2:Instance", a.arn("instance", id)})
		}
	}
	for id, t := range a.templates.rows {
		named := map[string]bool{}
		for _, v := range t.Versions[max(0, len(t.Versions)-versionDepth):] {
			if image := v.Data.Image; image != "" && !named[image] {
				named[image] = true
				all = append(all, reference{image, "ec2:LaunchTemplate", a.arn("launch-template", id)})
			}
		}
	}
	return all
}
