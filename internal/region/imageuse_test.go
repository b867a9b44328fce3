package region

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestImageUse(t *testing.T) {
	t.Parallel()
	hand := &clock{}
	f := newFixture(t, Options{Now: hand.now})
	ctx := t.Context()
	image, _ := f.register("used")
	instances := []ec2types.ImageUsageResourceTypeRequest{{ResourceType: aws.String("ec2:Instance")}}
	in := &awsec2.CreateImageUsageReportInput{ImageId: &image, ResourceTypes: instances, ClientToken: aws.String("token"),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: "image-usage-report", Tags: []ec2types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}}}
	made, err := f.ec2.CreateImageUsageReport(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.ec2.CreateImageUsageReport(ctx, in); err != nil || *again.ReportId != *made.ReportId {
		t.Errorf("the same token made %v (%v)", again, err)
	}
	in.ResourceTypes = []ec2types.ImageUsageResourceTypeRequest{{ResourceType: aws.String("ec2:LaunchTemplate")}}
	if _, err := f.ec2.CreateImageUsageReport(ctx, in); code(err) != "IdempotentParameterMismatch" {
		t.Errorf("the token with other types: %v", err)
	}
	state := func() string {
		out, err := f.ec2.DescribeImageUsageReports(ctx, &awsec2.DescribeImageUsageReportsInput{ImageIds: []string{image}, Filters: []ec2types.Filter{{Name: aws.String("tag:k"), Values: []string{"v"}}}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.ImageUsageReports) == 0 {
			return ""
		}
		return *out.ImageUsageReports[0].State
	}
	if s := state(); s != "pending" {
		t.Errorf("a new report is %q", s)
	}
	hand.ahead = 2 * time.Minute
	if s := state(); s != "available" {
		t.Errorf("after two minutes the report is %q", s)
	}
	entries, err := f.ec2.DescribeImageUsageReportEntries(ctx, &awsec2.DescribeImageUsageReportEntriesInput{ReportIds: []string{*made.ReportId}})
	if err != nil || len(entries.ImageUsageReportEntries) != 0 {
		t.Errorf("%v (%v)", entries, err)
	}
	f.region.areas["us-east-1"].reports.rows[*made.ReportId].Created = time.Now().Add(-31 * 24 * time.Hour)
	if s := state(); s != "" {
		t.Errorf("after a month the report is %q", s)
	}

	references := func(in awsec2.DescribeImageReferencesInput) error {
		in.ImageIds = []string{image}
		out, err := f.ec2.DescribeImageReferences(ctx, &in)
		if err == nil && len(out.ImageReferences) != 0 {
			t.Errorf("nothing refers to the image, but %+v", out.ImageReferences)
		}
		return err
	}
	for _, c := range []struct {
		name string
		call func() error
		want string
	}{
		{"references of all types", func() error {
			return references(awsec2.DescribeImageReferencesInput{IncludeAllResourceTypes: aws.Bool(true)})
		}, ""},
		{"references of one type", func() error {
			return references(awsec2.DescribeImageReferencesInput{ResourceTypes: []ec2types.ResourceTypeRequest{{ResourceType: "ec2:Instance"}}})
		}, ""},
		{"references of no type", func() error { return references(awsec2.DescribeImageReferencesInput{}) }, "MissingParameter"},
		{"references of an unknown type", func() error {
			return references(awsec2.DescribeImageReferencesInput{ResourceTypes: []ec2types.ResourceTypeRequest{{ResourceType: "ec2:Moon"}}})
		}, "InvalidParameterValue"},
		{"report on nothing", func() error {
			_, err := f.ec2.CreateImageUsageReport(ctx, &awsec2.CreateImageUsageReportInput{ImageId: aws.String("ami-00000000000000000"), ResourceTypes: instances})
			return err
		}, "InvalidAMIID.NotFound"},
		{"report of another type", func() error {
			_, err := f.ec2.CreateImageUsageReport(ctx, &awsec2.CreateImageUsageReportInput{ImageId: &image, ResourceTypes: []ec2types.ImageUsageResourceTypeRequest{{ResourceType: aws.String("ec2:Moon")}}})
			return err
		}, "InvalidParameterValue"},
		{"entries by an unknown filter", func() error {
			_, err := f.ec2.DescribeImageUsageReportEntries(ctx, &awsec2.DescribeImageUsageReportEntriesInput{Filters: []ec2types.Filter{{Name: aws.String("moon"), Values: []string{"x"}}}})
			return err
		}, "InvalidParameterValue"},
		{"a report that is gone", func() error {
			_, err := f.ec2.DeleteImageUsageReport(ctx, &awsec2.DeleteImageUsageReportInput{ReportId: made.ReportId})
			return err
		}, "InvalidImageUsageReportId.NotFound"},
	} {
		if err := c.call(); code(err) != c.want {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
