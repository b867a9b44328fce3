package check_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/catalog"
	"ingot/internal/publish"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/check"
	"ingot/internal/publish/cloudtest"
)

// Every attribute that is lost is found, and what can be mended is mended.
func TestCheckAndMend(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t, "us-east-1", "eu-north-1")
	ctx := t.Context()
	release := c.Release("a-1")
	request := c.Request("a-1")
	w := &check.Wanted{Release: release, BootMode: request.BootMode, Description: &request.Description, Tags: request.Tags, Map: request.Map}
	checker := &check.Checker{Clients: c.Clients, Sample: -1, Now: c.Now}
	look := func(want ...string) []check.Finding {
		t.Helper()
		seen, found, err := checker.Check(ctx, w)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range found {
			got = append(got, f.Region+" "+f.What+" "+string(f.Mend))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("found %q\nnot   %q", got, want)
		}
		for _, s := range seen {
			if s.Blocks != len(request.Map.Blocks) || s.Sampled != s.Blocks {
				t.Errorf("looked at %+v", s)
			}
		}
		return found
	}
	look()

	// Harm.
	at := slices.IndexFunc(release.AMIs, func(a catalog.AMI) bool { return a.Region == "us-east-1" })
	ami := release.AMIs[at]
	client := c.EC2(ami.Region)
	for _, err := range []error{
		attribute.Public(ctx, client, ami.ImageID, false),
		attribute.Describe(ctx, client, ami.ImageID, "another"),
		attribute.Deprecate(ctx, client, ami.ImageID, c.Now),
		attribute.Tag(ctx, client, ami.ImageID, "colour", "red"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{ami.SnapshotID}, Tags: []types.Tag{{Key: aws.String("colour")}}}); err != nil {
		t.Fatal(err)
	}
	found := look("us-east-1 public share", "us-east-1 deprecated renew", "us-east-1 description describe", "us-east-1 tag colour tag", "us-east-1 tag colour tag")
	if errs, err := checker.Mend(ctx, c.Catalog, w, found); err != nil || slices.ContainsFunc(errs, func(e error) bool { return e != nil }) {
		t.Fatalf("%v (%v)", errs, err)
	}
	look()

	// What the catalogue says decides.
	w.Release.AMIs[at].State, w.Release.AMIs[at].Public = catalog.Deprecated, false
	if _, err := checker.Mend(ctx, c.Catalog, w, look("us-east-1 public unshare", "us-east-1 deprecated deprecate")); err != nil {
		t.Fatal(err)
	}
	look()

	// What only publishing again, or a person, can mend.
	w.Map.Blocks[1].SHA256[0] ^= 1
	w.BootMode = "uefi"
	look("eu-north-1 boot mode ", "eu-north-1 block 1 of "+snapshotIn(release, "eu-north-1")+" ", "us-east-1 boot mode ", "us-east-1 block 1 of "+ami.SnapshotID+" ")
	w.Map, w.BootMode, checker.Sample = nil, "", 0
	if _, err := client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &ami.ImageID}); err != nil {
		t.Fatal(err)
	}
	w.Regions = []string{"eu-north-1", "us-east-1"}
	w.Release.AMIs = slices.DeleteFunc(w.Release.AMIs, func(a catalog.AMI) bool { return a.Region == "eu-north-1" })
	_, gone, err := checker.Check(ctx, w)
	if err != nil || len(gone) != 2 || gone[0].Mend != check.Publish || gone[1].Mend != check.Publish {
		t.Errorf("%+v (%v)", gone, err)
	}
}

// What surrounds an image is compared, too: shares, parameters, protection, the TPM, encryption.
func TestChecksAround(t *testing.T) {
	t.Parallel()
	const friend, org = "111122223333", "arn:aws:organizations::111122223333:organization/o-abcdefghij"
	c := cloudtest.New(t, "us-east-1")
	ctx := t.Context()
	release, r := c.Release("a-1"), c.Request("a-1")
	yes, no := true, false
	w := &check.Wanted{Release: release, Sharing: &check.Sharing{Accounts: []string{friend}, Organizations: []string{org}, Snapshot: true}, Parameters: []string{"/a"},
		Protect: true, TPM: &yes, Encrypted: &yes, Keys: map[string]string{"us-east-1": "arn:aws:kms:us-east-1:000000000000:key/1"}}
	look := func(want ...string) []check.Seen {
		t.Helper()
		seen, found, err := (&check.Checker{Clients: c.Clients, Now: c.Now}).Check(ctx, w)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range found {
			got = append(got, f.What+": "+f.Want+" "+string(f.Mend))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("found %q\nnot   %q", got, want)
		}
		return seen
	}
	ami := release.AMIs[0]
	look("TPM: v2.0 ", "protection: enabled publish", "encrypted: true ", "key: arn:aws:kms:us-east-1:000000000000:key/1 ",
		"launch permission: of "+friend+" publish", "launch permission: of "+org+" publish",
		"permission for "+ami.SnapshotID+": of "+friend+" publish", "permission for "+ami.SnapshotID+": of all publish", "parameter /a: "+ami.ImageID+" publish")
	// Publishing again gives what it can.
	r.Accounts, r.Organizations, r.ShareSnapshot, r.Parameters, r.Protect = w.Sharing.Accounts, w.Sharing.Organizations, true, w.Parameters, true
	if _, err := publish.Publish(ctx, c.Clients, r); err != nil {
		t.Fatal(err)
	}
	w.TPM, w.Encrypted = &no, &no
	look()
	w.Sharing.Accounts = nil
	if seen := look(); seen[0].Note != "also shared with "+friend {
		t.Errorf("noted %q", seen[0].Note)
	}
}

func snapshotIn(r catalog.Release, region string) string {
	at := slices.IndexFunc(r.AMIs, func(a catalog.AMI) bool { return a.Region == region })
	return r.AMIs[at].SnapshotID
}
