package region

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestTemplateVersions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	ctx := t.Context()
	data := &ec2types.RequestLaunchTemplateData{InstanceType: "t3.micro"}
	for _, name := range []string{"one", "two", "three", "four"} {
		if _, err := f.ec2.CreateLaunchTemplate(ctx, &awsec2.CreateLaunchTemplateInput{LaunchTemplateName: &name, LaunchTemplateData: data}); err != nil {
			t.Fatal(err)
		}
	}
	version := func(token, kind string) (int64, error) {
		out, err := f.ec2.CreateLaunchTemplateVersion(ctx, &awsec2.CreateLaunchTemplateVersionInput{LaunchTemplateName: aws.String("one"), ClientToken: &token,
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceType(kind)}})
		if err != nil {
			return 0, err
		}
		return *out.LaunchTemplateVersion.VersionNumber, nil
	}
	for _, c := range []struct {
		token, kind string
		want        int64
		code        string
	}{
		{"a", "t3.nano", 2, ""}, {"a", "t3.nano", 2, ""}, {"a", "t3.large", 0, "IdempotentParameterMismatch"}, {"b", "t3.nano", 3, ""}, {"a", "t3.nano", 2, ""},
	} {
		if n, err := version(c.token, c.kind); n != c.want || code(err) != c.code {
			t.Errorf("%+v: version %d, %v", c, n, err)
		}
	}
	pages := awsec2.NewDescribeLaunchTemplateVersionsPaginator(f.ec2, &awsec2.DescribeLaunchTemplateVersionsInput{Versions: []string{"$Default"}, MaxResults: aws.Int32(1)})
	seen := map[string]bool{}
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range p.LaunchTemplateVersions {
			seen[*v.LaunchTemplateName] = true
		}
	}
	if len(seen) != 4 {
		t.Errorf("the pages have the templates %v", seen)
	}
	for _, name := range []string{"with space", "at@home", "no"} {
		_, err := f.ec2.CreateLaunchTemplate(ctx, &awsec2.CreateLaunchTemplateInput{LaunchTemplateName: &name, LaunchTemplateData: data})
		if code(err) != "InvalidLaunchTemplateName.MalformedException" {
			t.Errorf("%q: %v", name, err)
		}
	}
}
