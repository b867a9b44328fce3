package region

import (
	"slices"
	"time"
)

// The life of a report on the use of an image: EC2 makes it within a day, this region within a minute.
const (
	reportMaking = time.Minute
	reportLife   = 30 * 24 * time.Hour
)

// usageReport is a report on the accounts that use an image. Here there is one account, the image's own, which reports
// leave out: they are empty.
type usageReport struct {
	ID, Image, Token string
	Types            []string
	Accounts         []string
	Created          time.Time
	Tags             map[string]string
}

// useTypes are what a report can count.
var useTypes = []string{"ec2:Instance", "ec2:LaunchTemplate"}

type createImageUsageReportIn struct {
	dryRun
	Image string `q:"ImageId"`
	Types []struct {
		Name string `q:"ResourceType"`
	} `q:"ResourceType"`
	Accounts []string  `q:"AccountId"`
	Token    string    `q:"ClientToken"`
	Specs    []tagSpec `q:"TagSpecification"`
}

type createImageUsageReportOut struct {
	reply
	ID string `xml:"reportId"`
}

func (a *area) createImageUsageReport(in *createImageUsageReportIn) (*createImageUsageReportOut, error) {
	if in.Image == "" {
		return nil, missing("ImageId")
	}
	i, err := a.image(in.Image)
	if err != nil {
		return nil, err
	}
	if !i.registered() {
		return nil, unavailable(in.Image)
	}
	if len(in.Types) == 0 {
		return nil, missing("ResourceType")
	}
	row := &usageReport{Image: i.ID, Token: in.Token, Accounts: in.Accounts, Created: a.r.opt.Now()}
	for _, t := range in.Types {
		if !slices.Contains(useTypes, t.Name) {
			return nil, errorf("InvalidParameterValue", "Value (%.60s) for parameter resourceType is invalid.", t.Name)
		}
		row.Types = append(row.Types, t.Name)
	}
	tags, err := specTags(in.Specs, "image-usage-report")
	if err != nil {
		return nil, err
	}
	row.Tags = tags["image-usage-report"]
	if err := in.dry(); err != nil {
		return nil, err
	}
	for _, earlier := range a.reports.rows {
		if in.Token != "" && earlier.Token == in.Token {
			if earlier.Image != row.Image || !slices.Equal(earlier.Types, row.Types) || !slices.Equal(earlier.Accounts, row.Accounts) {
				return nil, errorf("IdempotentParameterMismatch", "The client token was used with other parameters")
			}
			return &createImageUsageReportOut{ID: earlier.ID}, nil
		}
	}
	row.ID = a.reports.newID()
	return &createImageUsageReportOut{ID: row.ID}, a.reports.put(row.ID, row)
}

// report returns a report that has not expired.
func (a *area) report(id string) (*usageReport, error) {
	row := a.reports.rows[id]
	if row == nil || a.r.opt.Now().After(row.Created.Add(reportLife)) {
		return nil, errorf("InvalidImageUsageReportId.NotFound", "The image usage report '%.60s' does not exist", id)
	}
	return row, nil
}

type useXML struct {
	Type string `xml:"resourceType"`
}

type usageReportXML struct {
	Image    string       `xml:"imageId"`
	ID       string       `xml:"reportId"`
	Types    list[useXML] `xml:"resourceTypeSet"`
	Accounts list[string] `xml:"accountIdSet"`
	State    string       `xml:"state"`
	Created  string       `xml:"creationTime"`
	Expires  string       `xml:"expirationTime"`
	Tags     []tag        `xml:"tagSet>item,omitempty"`
}

// attr answers filters.
func (x usageReportXML) attr(name string) ([]string, bool) {
	switch name {
	case "creation-time":
		return []string{x.Created}, true
	case "state":
		return []string{x.State}, true
	}
	return tagAttr(tagMap(x.Tags), name)
}

type usageReportsIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	Images  []string `q:"ImageId"`
	IDs     []string `q:"ReportId"`
}

// chosen returns the reports that a request names.
func (in *usageReportsIn) chosen(a *area) ([]*usageReport, error) {
	for _, id := range in.IDs {
		if _, err := a.report(id); err != nil {
			return nil, err
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	var all []*usageReport
	for id := range a.reports.rows {
		row, err := a.report(id)
		if err == nil && has(in.IDs, id) && has(in.Images, row.Image) {
			all = append(all, row)
		}
	}
	return all, nil
}

type describeImageUsageReportsOut struct {
	reply
	Reports list[usageReportXML] `xml:"imageUsageReportSet"`
	Next    string               `xml:"nextToken,omitempty"`
}

func (a *area) describeImageUsageReports(in *usageReportsIn) (*describeImageUsageReportsOut, error) {
	rows, err := in.chosen(a)
	if err != nil {
		return nil, err
	}
	var all []usageReportXML
	for _, row := range rows {
		x := usageReportXML{Image: row.Image, ID: row.ID, Accounts: list[string]{row.Accounts}, State: "available",
			Created: stamp(row.Created), Expires: stamp(row.Created.Add(reportLife)), Tags: tagSet(row.Tags)}
		for _, t := range row.Types {
			x.Types.Items = append(x.Types.Items, useXML{t})
		}
		if a.r.opt.Now().Before(row.Created.Add(reportMaking)) {
			x.State = statePending
		}
		all = append(all, x)
	}
	if all, err = choose(all, in.Filters, usageReportXML.attr); err != nil {
		return nil, err
	}
	out := &describeImageUsageReportsOut{}
	out.Reports.Items, out.Next, err = page(a.r, "DescribeImageUsageReports", in.paged, 1, len(in.IDs) > 0, all,
		func(x usageReportXML) string { return x.Created + x.ID })
	return out, err
}

type describeImageUsageReportEntriesOut struct {
	reply
	Entries list[useXML] `xml:"imageUsageReportEntrySet"` // of which there are none
}

func (a *area) describeImageUsageReportEntries(in *usageReportsIn) (*describeImageUsageReportEntriesOut, error) {
	if _, err := in.chosen(a); err != nil {
		return nil, err
	}
	out := &describeImageUsageReportEntriesOut{}
	all, err := choose(out.Entries.Items, in.Filters, func(_ useXML, name string) ([]string, bool) {
		return nil, slices.Contains([]string{"account-id", "creation-time", "resource-type"}, name)
	})
	if err != nil {
		return nil, err
	}
	out.Entries.Items, _, err = page(a.r, "DescribeImageUsageReportEntries", in.paged, 1, false, all, func(x useXML) string { return x.Type })
	return out, err
}

type deleteImageUsageReportIn struct {
	dryRun
	ID string `q:"ReportId"`
}

func (a *area) deleteImageUsageReport(in *deleteImageUsageReportIn) (*done, error) {
	if in.ID == "" {
		return nil, missing("ReportId")
	}
	if _, err := a.report(in.ID); err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &done{Return: true}, a.reports.drop(in.ID)
}
