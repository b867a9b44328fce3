package region

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// launchTemplate is a named launch, in versions.
type launchTemplate struct {
	ID, Name, Token, Request string
	Created                  time.Time
	Default                  int64
	Versions                 []templateVersion // in the order of their numbers
	Tags                     map[string]string
}

type templateVersion struct {
	Number         int64
	Description    string
	Created        time.Time
	Data           templateData
	Token, Request string
}

// templateData is what a template says of a launch: the parameters of RunInstances that the local region knows.
type templateData struct {
	Image            string      `q:"ImageId" json:",omitempty"`
	Type             string      `q:"InstanceType" json:",omitempty"`
	Key              string      `q:"KeyName" json:",omitempty"`
	UserData         string      `q:"UserData" json:",omitempty"`
	Groups           []string    `q:"SecurityGroupId" json:",omitempty"`
	Mappings         []mappingIn `q:"BlockDeviceMapping" json:",omitempty"`
	Specs            []tagSpec   `q:"TagSpecification" json:",omitempty"`
	EbsOptimized     *bool       `q:"EbsOptimized" json:",omitempty"`
	Protected        *bool       `q:"DisableApiTermination" json:",omitempty"`
	ShutdownBehavior string      `q:"InstanceInitiatedShutdownBehavior" json:",omitempty"`
	Placement        placementIn `q:"Placement"`
	Metadata         metadataIn  `q:"MetadataOptions"`
}

var launchTemplateName = regexp.MustCompile(`^[A-Za-z0-9()./_-]{3,128}$`)

func (t *launchTemplate) latest() int64 { return t.Versions[len(t.Versions)-1].Number }

// version returns a version by its number, $Default, $Latest or, where that is "", the default one; nil: there is none.
func (t *launchTemplate) version(name string) *templateVersion {
	n := t.Default
	switch name {
	case "", "$Default":
	case "$Latest":
		n = t.latest()
	default:
		var err error
		if n, err = strconv.ParseInt(name, 10, 64); err != nil {
			return nil
		}
	}
	at := slices.IndexFunc(t.Versions, func(v templateVersion) bool { return v.Number == n })
	if at < 0 {
		return nil
	}
	return &t.Versions[at]
}

// templateName is how requests name a template: by its id or its name, and not by both.
type templateName struct {
	ID   string `q:"LaunchTemplateId"`
	Name string `q:"LaunchTemplateName"`
}

func (a *area) template(in templateName) (*launchTemplate, error) {
	switch {
	case in.ID == "" && in.Name == "":
		return nil, errorf("MissingParameter", "A launch template's id or its name is required")
	case in.ID != "" && in.Name != "":
		return nil, errorf("InvalidParameterCombination", "Specify either the launch template's id or its name, and not both")
	case in.ID != "" && !validID("lt-", in.ID):
		return nil, errorf("InvalidLaunchTemplateId.Malformed", "Invalid launch template id: %.100s", in.ID)
	}
	if t := a.templates.rows[in.ID]; t != nil {
		return t, nil
	}
	if in.ID != "" {
		return nil, errorf("InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist.", in.ID)
	}
	for _, t := range a.templates.rows {
		if t.Name == in.Name {
			return t, nil
		}
	}
	return nil, errorf("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %.128s, does not exist.", in.Name)
}

func noVersion(t *launchTemplate, version string) error {
	return errorf("InvalidLaunchTemplateId.VersionNotFound", "Could not find the specified version %.40s for the launch template with ID %s.", version, t.ID)
}

type launchTemplateXML struct {
	ID      string `xml:"launchTemplateId"`
	Name    string `xml:"launchTemplateName"`
	Created string `xml:"createTime"`
	By      string `xml:"createdBy"`
	Default int64  `xml:"defaultVersionNumber"`
	Latest  int64  `xml:"latestVersionNumber"`
	Tags    []tag  `xml:"tagSet>item,omitempty"`
}

func (a *area) templateXML(t *launchTemplate) launchTemplateXML {
	return launchTemplateXML{t.ID, t.Name, stamp(t.Created), a.caller(), t.Default, t.latest(), tagSet(t.Tags)}
}

func (x launchTemplateXML) attr(name string) ([]string, bool) {
	if v, ok := one(map[string]string{"launch-template-name": x.Name, "create-time": x.Created}, name); ok {
		return v, ok
	}
	return tagAttr(tagMap(x.Tags), name)
}

type templateOut struct {
	reply
	Template launchTemplateXML `xml:"launchTemplate"`
}

type createTemplateIn struct {
	dryRun
	Token       string       `q:"ClientToken"`
	Name        string       `q:"LaunchTemplateName"`
	Description string       `q:"VersionDescription"`
	Data        templateData `q:"LaunchTemplateData"`
	Specs       []tagSpec    `q:"TagSpecification"`
}

func (a *area) createTemplate(in *createTemplateIn) (*templateOut, error) {
	untold := *in
	untold.Token = ""
	request := digest(untold)
	named := false
	for _, t := range a.templates.rows {
		if in.Token != "" && t.Token == in.Token {
			if t.Request != request {
				return nil, mismatched()
			}
			return &templateOut{Template: a.templateXML(t)}, nil
		}
		named = named || t.Name == in.Name
	}
	if named {
		return nil, errorf("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
	}
	tags, err := specTags(in.Specs, "launch-template")
	if err != nil {
		return nil, err
	}
	switch {
	case in.Name == "":
		return nil, missing("LaunchTemplateName")
	case !launchTemplateName.MatchString(in.Name):
		return nil, errorf("InvalidLaunchTemplateName.MalformedException", "The specified launch template name %.128s is not valid: it has 3 to 128 letters, "+
			"digits and '(', ')', '.', '-', '/' and '_'", in.Name)
	case digest(in.Data) == digest(templateData{}):
		return nil, missing("LaunchTemplateData")
	case len(in.Description) > 255:
		return nil, errorf("InvalidParameterValue", "The description is longer than 255 characters")
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	now := a.r.opt.Now()
	t := &launchTemplate{ID: a.templates.newID(), Name: in.Name, Token: in.Token, Request: request, Created: now, Default: 1, Tags: tags["launch-template"],
		Versions: []templateVersion{{Number: 1, Description: in.Description, Created: now, Data: in.Data}}}
	return &templateOut{Template: a.templateXML(t)}, a.templates.put(t.ID, t)
}

type createVersionIn struct {
	dryRun
	templateName
	Token       string       `q:"ClientToken"`
	Source      string       `q:"SourceVersion"`
	Description string       `q:"VersionDescription"`
	Data        templateData `q:"LaunchTemplateData"`
}

type versionOut struct {
	reply
	Version templateVersionXML `xml:"launchTemplateVersion"`
}

func (a *area) createTemplateVersion(in *createVersionIn) (*versionOut, error) {
	t, err := a.template(in.templateName)
	if err != nil {
		return nil, err
	}
	untold := *in
	untold.Token = ""
	request := digest(untold)
	if at := slices.IndexFunc(t.Versions, func(v templateVersion) bool { return in.Token != "" && v.Token == in.Token }); at >= 0 {
		if t.Versions[at].Request != request {
			return nil, mismatched()
		}
		return &versionOut{Version: a.versionXML(t, &t.Versions[at])}, nil
	}
	data := in.Data
	if in.Source != "" {
		source := t.version(in.Source)
		if source == nil {
			return nil, noVersion(t, in.Source)
		}
		data = data.over(source.Data)
	}
	if digest(data) == digest(templateData{}) {
		return nil, missing("LaunchTemplateData")
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	next := *t
	next.Versions = append(slices.Clone(t.Versions), templateVersion{t.latest() + 1, in.Description, a.r.opt.Now(), data, in.Token, request})
	return &versionOut{Version: a.versionXML(&next, &next.Versions[len(next.Versions)-1])}, a.templates.put(t.ID, &next)
}

// over fills in from base what d does not say.
func (d templateData) over(base templateData) templateData {
	d.Image, d.Type, d.Key, d.UserData = cmp.Or(d.Image, base.Image), cmp.Or(d.Type, base.Type), cmp.Or(d.Key, base.Key), cmp.Or(d.UserData, base.UserData)
	d.ShutdownBehavior = cmp.Or(d.ShutdownBehavior, base.ShutdownBehavior)
	d.EbsOptimized, d.Protected = cmp.Or(d.EbsOptimized, base.EbsOptimized), cmp.Or(d.Protected, base.Protected)
	if len(d.Groups) == 0 {
		d.Groups = base.Groups
	}
	if len(d.Mappings) == 0 {
		d.Mappings = base.Mappings
	}
	if len(d.Specs) == 0 {
		d.Specs = base.Specs
	}
	d.Placement, d.Metadata = cmp.Or(d.Placement, base.Placement), cmp.Or(d.Metadata, base.Metadata)
	return d
}

type modifyTemplateIn struct {
	dryRun
	templateName
	Token   string `q:"ClientToken"`
	Default string `q:"SetDefaultVersion"`
}

func (a *area) modifyTemplate(in *modifyTemplateIn) (*templateOut, error) {
	t, err := a.template(in.templateName)
	if err != nil {
		return nil, err
	}
	if in.Default == "" {
		return nil, missing("SetDefaultVersion")
	}
	v := t.version(in.Default)
	if v == nil {
		return nil, noVersion(t, in.Default)
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	next := *t
	next.Default = v.Number
	return &templateOut{Template: a.templateXML(&next)}, a.templates.put(t.ID, &next)
}

type deleteTemplateIn struct {
	dryRun
	templateName
}

func (a *area) deleteTemplate(in *deleteTemplateIn) (*templateOut, error) {
	t, err := a.template(in.templateName)
	if err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &templateOut{Template: a.templateXML(t)}, a.templates.drop(t.ID)
}

type describeTemplatesIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	IDs     []string `q:"LaunchTemplateId"`
	Names   []string `q:"LaunchTemplateName"`
}

type describeTemplatesOut struct {
	reply
	Templates list[launchTemplateXML] `xml:"launchTemplates"`
	Next      string                  `xml:"nextToken,omitempty"`
}

func (a *area) describeTemplates(in *describeTemplatesIn) (*describeTemplatesOut, error) {
	for _, id := range in.IDs {
		if _, err := a.template(templateName{ID: id}); err != nil {
			return nil, err
		}
	}
	for _, name := range in.Names {
		if _, err := a.template(templateName{Name: name}); err != nil {
			return nil, err
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	var all []launchTemplateXML
	for id, t := range a.templates.rows {
		if has(in.IDs, id) && has(in.Names, t.Name) {
			all = append(all, a.templateXML(t))
		}
	}
	all, err := choose(all, in.Filters, launchTemplateXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeTemplatesOut{}
	out.Templates.Items, out.Next, err = page(a.r, "DescribeLaunchTemplates", in.paged, 1, false, all, func(x launchTemplateXML) string { return x.Name })
	return out, err
}
