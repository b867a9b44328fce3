package doctor_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/publish/cloudtest"
	"ingot/internal/publish/doctor"
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t, "us-east-1", "eu-north-1")
	c.Release("a-1")
	d := &doctor.Doctor{Clients: c.Clients, Home: "us-east-1", Regions: []string{"us-east-1", "eu-north-1", "mars-1"}, Public: true, Volumes: true, Bucket: "none-{region}"}
	look := func() map[string]doctor.Check {
		t.Helper()
		all, err := d.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]doctor.Check{}
		for _, c := range all {
			byName[strings.TrimSpace(c.Region+" "+c.Name)] = c
		}
		return byName
	}
	all := look()
	for name, want := range map[string]struct {
		ok     bool
		detail string
	}{
		"credentials":                       {true, "of account 000000000000"},
		"mars-1 opt-in":                     {false, "there is no such region"},
		"us-east-1 permissions":             {true, "9 of 9 tried are there"},
		"us-east-1 permissions for volumes": {true, "6 of 6 tried are there"},
		"us-east-1 public images":           {true, "unblocked"},
		"us-east-1 encryption by default":   {true, "off"},
		"eu-north-1 quota of public images": {true, "1 of 5"},
		"eu-north-1 quota of snapshots":     {true, "1 of 100000"},
		"us-east-1 bucket none-us-east-1":   {false, "there is no bucket none-us-east-1"},
	} {
		if got, ok := all[name]; !ok || got.OK != want.ok || !strings.Contains(got.Detail, want.detail) {
			t.Errorf("%s: %+v, not %+v", name, got, want)
		}
	}
	if _, err := c.EC2("us-east-1").EnableImageBlockPublicAccess(t.Context(), &ec2.EnableImageBlockPublicAccessInput{
		ImageBlockPublicAccessState: types.ImageBlockPublicAccessEnabledStateBlockNewSharing}); err != nil {
		t.Fatal(err)
	}
	c.Deny("ec2:DeregisterImage")
	all = look()
	if got := all["us-east-1 public images"]; got.OK || !strings.Contains(got.Detail, "block-new-sharing") || !strings.Contains(got.Hint, "disable-image-block-public-access") {
		t.Errorf("a blocked region: %+v", got)
	}
	if got := all["us-east-1 permissions"]; got.OK || got.Detail != "missing: ec2:DeregisterImage" {
		t.Errorf("a missing permission: %+v", got)
	}
	if got := all["us-east-1 quota of public images"]; !got.OK {
		t.Errorf("%+v", got)
	}
	for _, action := range []string{"ec2:DescribeVolumes", "ec2:CreateVolume", "ec2:AttachVolume", "ec2:DetachVolume", "ec2:CreateSnapshot", "ec2:DeleteVolume"} {
		c.Deny(action)
		if got := look()["us-east-1 permissions for volumes"]; got.OK || got.Needed || got.Detail != "missing: "+action {
			t.Errorf("without %s: %+v", action, got)
		}
	}
	c.Deny("sts:GetCallerIdentity")
	if all := look(); len(all) != 1 || all["credentials"].OK {
		t.Errorf("without credentials: %+v", all)
	}
}
