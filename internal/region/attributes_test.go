package region

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
)

func (f *fixture) share(image string, grants ...ec2types.LaunchPermission) error {
	_, err := f.ec2.ModifyImageAttribute(f.t.Context(), &awsec2.ModifyImageAttributeInput{ImageId: &image,
		LaunchPermission: &ec2types.LaunchPermissionModifications{Add: grants}})
	return err
}

var everybody = ec2types.LaunchPermission{Group: ec2types.PermissionGroupAll}

func (f *fixture) described(id string) ec2types.Image {
	f.t.Helper()
	out, err := f.ec2.DescribeImages(f.t.Context(), &awsec2.DescribeImagesInput{ImageIds: []string{id}, IncludeDisabled: aws.Bool(true)})
	if err != nil || len(out.Images) != 1 {
		f.t.Fatalf("describing %s: %+v, %v", id, out, err)
	}
	return out.Images[0]
}

// TestImageStages walks what is done with an image from its release to its end.
func TestImageStages(t *testing.T) {
	t.Parallel()
	hand := &clock{}
	f := newFixture(t, Options{Now: hand.now, Quotas: map[string]float64{quotaPublicImages: 1}})
	ctx := t.Context()
	id, snap := f.register("first")
	other, _ := f.register("second")
	org := "arn:aws:organizations::123456789012:organization/o-abcdefghij"
	unit := "arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-ab12-cdefghij"
	in := func(d time.Duration) *time.Time { return aws.Time(hand.now().Add(d)) }
	year := 365 * 24 * time.Hour
	deprecate := func(at *time.Time) func() error {
		return func() error {
			_, err := f.ec2.EnableImageDeprecation(ctx, &awsec2.EnableImageDeprecationInput{ImageId: &id, DeprecateAt: at})
			return err
		}
	}
	deregister := func() error {
		_, err := f.ec2.DeregisterImage(ctx, &awsec2.DeregisterImageInput{ImageId: &id})
		return err
	}
	protect := func(cooldown bool) func() error {
		return func() error {
			_, err := f.ec2.EnableImageDeregistrationProtection(ctx, &awsec2.EnableImageDeregistrationProtectionInput{ImageId: &id, WithCooldown: &cooldown})
			return err
		}
	}
	unprotect := func() error {
		_, err := f.ec2.DisableImageDeregistrationProtection(ctx, &awsec2.DisableImageDeregistrationProtectionInput{ImageId: &id})
		return err
	}
	for _, step := range []struct {
		name, want string
		do         func() error
		check      func(i ec2types.Image) bool
	}{
		{"deprecating in the past", "InvalidParameterValue", deprecate(in(-time.Hour)), nil},
		{"deprecating in eleven years", "InvalidParameterValue", deprecate(in(11 * year)), nil},
		{"deprecating in nine years", "", deprecate(in(9 * year)), func(i ec2types.Image) bool { return i.DeprecationTime != nil }},
		{"cancelling", "", func() error {
			_, err := f.ec2.DisableImageDeprecation(ctx, &awsec2.DisableImageDeprecationInput{ImageId: &id})
			return err
		}, func(i ec2types.Image) bool { return i.DeprecationTime == nil }},
		{"sharing with an organization", "", func() error {
			return f.share(id, ec2types.LaunchPermission{OrganizationArn: &org}, ec2types.LaunchPermission{OrganizationalUnitArn: &unit})
		}, nil},
		{"sharing with a malformed organization", "InvalidAMIAttributeItemValue", func() error {
			return f.share(id, ec2types.LaunchPermission{OrganizationArn: aws.String("o-1")})
		}, nil},
		{"publishing while it is blocked", "OperationNotPermitted", func() error {
			out, err := f.ec2.EnableImageBlockPublicAccess(ctx, &awsec2.EnableImageBlockPublicAccessInput{ImageBlockPublicAccessState: "block-new-sharing"})
			if err != nil || out.ImageBlockPublicAccessState != "block-new-sharing" {
				t.Errorf("blocking: %+v, %v", out, err)
			}
			return f.share(id, everybody)
		}, nil},
		{"publishing", "", func() error {
			if _, err := f.ec2.DisableImageBlockPublicAccess(ctx, &awsec2.DisableImageBlockPublicAccessInput{}); err != nil {
				t.Error(err)
			}
			return f.share(id, everybody)
		}, func(i ec2types.Image) bool { return *i.Public && i.DeprecationTime != nil }},
		{"publishing one more than the quota", "ResourceLimitExceeded", func() error { return f.share(other, everybody) }, nil},
		{"deprecating a public image in three years", "InvalidParameterValue", deprecate(in(3 * year)), nil},
		{"cancelling a public image's", "", func() error {
			_, err := f.ec2.DisableImageDeprecation(ctx, &awsec2.DisableImageDeprecationInput{ImageId: &id})
			return err
		}, func(i ec2types.Image) bool { return i.DeprecationTime != nil }},
		{"requiring IMDSv1", "InvalidParameterValue", func() error {
			_, err := f.ec2.ModifyImageAttribute(ctx, &awsec2.ModifyImageAttributeInput{ImageId: &id, ImdsSupport: &ec2types.AttributeValue{Value: aws.String("v1.0")}})
			return err
		}, nil},
		{"requiring IMDSv2", "", func() error {
			_, err := f.ec2.ModifyImageAttribute(ctx, &awsec2.ModifyImageAttributeInput{ImageId: &id, ImdsSupport: &ec2types.AttributeValue{Value: aws.String("v2.0")}})
			return err
		}, nil},
		{"resetting something else", "InvalidParameterValue", func() error {
			_, err := f.ec2.ResetImageAttribute(ctx, &awsec2.ResetImageAttributeInput{ImageId: &id, Attribute: "description"})
			return err
		}, nil},
		{"resetting its permissions", "", func() error {
			_, err := f.ec2.ResetImageAttribute(ctx, &awsec2.ResetImageAttributeInput{ImageId: &id, Attribute: "launchPermission"})
			return err
		}, func(i ec2types.Image) bool { return !*i.Public }},
		{"protecting", "", protect(false), func(i ec2types.Image) bool { return *i.DeregistrationProtection == protectionOn }},
		{"deregistering", "OperationNotPermitted", deregister, nil},
		{"protecting with a cooldown", "", protect(true), nil},
		{"unprotecting", "", unprotect, nil},
		{"deregistering in the cooldown", "OperationNotPermitted", deregister, nil},
		{"disabling", "", func() error {
			_, err := f.ec2.DisableImage(ctx, &awsec2.DisableImageInput{ImageId: &id})
			return err
		}, func(i ec2types.Image) bool { return i.State == ec2types.ImageStateDisabled }},
		{"sharing what is disabled", "InvalidAMIID.Unavailable", func() error { return f.share(id, everybody) }, nil},
		{"deleting the snapshot of what is disabled", "InvalidSnapshot.InUse", func() error {
			_, err := f.ec2.DeleteSnapshot(ctx, &awsec2.DeleteSnapshotInput{SnapshotId: &snap})
			return err
		}, nil},
		{"enabling", "", func() error {
			_, err := f.ec2.EnableImage(ctx, &awsec2.EnableImageInput{ImageId: &id})
			return err
		}, func(i ec2types.Image) bool { return i.State == ec2types.ImageStateAvailable }},
		{"enabling again", "IncorrectState", func() error {
			_, err := f.ec2.EnableImage(ctx, &awsec2.EnableImageInput{ImageId: &id})
			return err
		}, nil},
		{"deregistering in dry run", "DryRunOperation", func() error {
			hand.ahead += 25 * time.Hour
			_, err := f.ec2.DeregisterImage(ctx, &awsec2.DeregisterImageInput{ImageId: &id, DryRun: aws.Bool(true)})
			return err
		}, func(i ec2types.Image) bool { return *i.DeregistrationProtection == protectionOff }},
		{"deregistering at last", "", deregister, nil},
		{"disabling what is gone", "InvalidAMIID.Unavailable", func() error {
			_, err := f.ec2.DisableImage(ctx, &awsec2.DisableImageInput{ImageId: &id})
			return err
		}, nil},
	} {
		if err := step.do(); code(err) != step.want {
			t.Errorf("%s: got %v, want %s", step.name, err, step.want)
		}
		if step.check != nil && !step.check(f.described(id)) {
			t.Errorf("%s: the image is %+v", step.name, f.described(id))
		}
	}
}

func TestImagePolicy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{ImagePolicy: blockNew})
	out, err := f.ec2.GetImageBlockPublicAccessState(t.Context(), &awsec2.GetImageBlockPublicAccessStateInput{})
	if err != nil || *out.ImageBlockPublicAccessState != blockNew || out.ManagedBy != ec2types.ManagedByDeclarativePolicy {
		t.Errorf("the state is %+v, %v", out, err)
	}
	_, err = f.ec2.DisableImageBlockPublicAccess(t.Context(), &awsec2.DisableImageBlockPublicAccessInput{})
	if code(err) != "OperationNotPermitted" {
		t.Errorf("unblocking against a policy: %v", err)
	}
}

// TestSharedSnapshots walks the permissions of snapshots.
func TestSharedSnapshots(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	ctx := t.Context()
	plain := f.snapshot(1, "a", "")
	managed := f.copySnapshot(plain, &awsec2.CopySnapshotInput{Encrypted: aws.Bool(true)})
	own := f.copySnapshot(plain, &awsec2.CopySnapshotInput{Encrypted: aws.Bool(true), KmsKeyId: aws.String("01234567-89ab-cdef-0123-456789abcdef")})
	share := func(id string, who ec2types.CreateVolumePermission) func() error {
		return func() error {
			_, err := f.ec2.ModifySnapshotAttribute(ctx, &awsec2.ModifySnapshotAttributeInput{SnapshotId: &id,
				CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: []ec2types.CreateVolumePermission{who}}})
			return err
		}
	}
	all := ec2types.CreateVolumePermission{Group: ec2types.PermissionGroupAll}
	account := ec2types.CreateVolumePermission{UserId: aws.String("123456789012")}
	block := func(state ec2types.SnapshotBlockPublicAccessState) func() error {
		return func() error {
			_, err := f.ec2.EnableSnapshotBlockPublicAccess(ctx, &awsec2.EnableSnapshotBlockPublicAccessInput{State: state})
			return err
		}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"with an account", share(plain, account), ""},
		{"under the managed key", share(managed, account), "OperationNotPermitted"},
		{"under an own key", share(own, account), ""},
		{"encrypted, with all", share(own, all), "OperationNotPermitted"},
		{"with half an account", share(plain, ec2types.CreateVolumePermission{UserId: aws.String("12")}), "InvalidParameterValue"},
		{"blocking wrongly", block("sometimes"), "InvalidParameterValue"},
		{"blocking", block("block-all-sharing"), ""},
		{"with all, blocked", share(plain, all), "OperationNotPermitted"},
		{"unblocking", func() error {
			_, err := f.ec2.DisableSnapshotBlockPublicAccess(ctx, &awsec2.DisableSnapshotBlockPublicAccessInput{})
			return err
		}, ""},
		{"with all", share(plain, all), ""},
		{"reading a public one's blocks", func() error { _, err := f.list(plain); return err }, "ValidationException"},
		{"resetting", func() error {
			_, err := f.ec2.ResetSnapshotAttribute(ctx, &awsec2.ResetSnapshotAttributeInput{SnapshotId: &plain, Attribute: "createVolumePermission"})
			return err
		}, ""},
		{"reading a private one's blocks", func() error { _, err := f.list(plain); return err }, ""},
		{"unknown attribute", func() error {
			_, err := f.ec2.DescribeSnapshotAttribute(ctx, &awsec2.DescribeSnapshotAttributeInput{SnapshotId: &plain, Attribute: "colour"})
			return err
		}, "InvalidParameterValue"},
	} {
		if err := step.do(); code(err) != step.want {
			t.Errorf("%s: got %v, want %s", step.name, err, step.want)
		}
	}
	out, err := f.ec2.DescribeSnapshotAttribute(ctx, &awsec2.DescribeSnapshotAttributeInput{SnapshotId: &own, Attribute: "createVolumePermission"})
	if err != nil || len(out.CreateVolumePermissions) != 1 || *out.CreateVolumePermissions[0].UserId != "123456789012" {
		t.Errorf("the permissions are %+v, %v", out, err)
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Quotas: map[string]float64{quotaPublicImages: 7, quotaShareTargets: 1}})
	ctx := t.Context()
	image, _ := f.register("shared")
	for _, c := range []struct{ account, want string }{{"111111111111", ""}, {"222222222222", "ResourceLimitExceeded"}} {
		if err := f.share(image, ec2types.LaunchPermission{UserId: &c.account}); code(err) != c.want {
			t.Errorf("sharing with %s: %v", c.account, err)
		}
	}
	client := servicequotas.NewFromConfig(f.config("us-east-1", f.region.Credentials()))
	got, err := client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("ec2"), QuotaCode: aws.String(quotaPublicImages)})
	if err != nil || *got.Quota.Value != 7 || *got.Quota.QuotaName != "Public AMIs" {
		t.Errorf("the quota is %+v, %v", got, err)
	}
	usual, err := client.GetAWSDefaultServiceQuota(ctx, &servicequotas.GetAWSDefaultServiceQuotaInput{ServiceCode: aws.String("ec2"), QuotaCode: aws.String(quotaPublicImages)})
	if err != nil || *usual.Quota.Value != 5 {
		t.Errorf("the default is %+v, %v", usual, err)
	}
	pages := servicequotas.NewListServiceQuotasPaginator(client, &servicequotas.ListServiceQuotasInput{ServiceCode: aws.String("ebs"), MaxResults: aws.Int32(4)})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Quotas)
	}
	if n != 10 {
		t.Errorf("ebs has %d quotas", n)
	}
	for _, c := range []struct{ service, quota, want string }{
		{"ec2", "L-00000000", "NoSuchResourceException"}, {"ebs", quotaPublicImages, "NoSuchResourceException"},
	} {
		if _, err := client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: &c.service, QuotaCode: &c.quota}); code(err) != c.want {
			t.Errorf("%s of %s: %v", c.quota, c.service, err)
		}
	}
	if _, err := client.ListServiceQuotas(ctx, &servicequotas.ListServiceQuotasInput{ServiceCode: aws.String("mail")}); code(err) != "NoSuchResourceException" {
		t.Errorf("a service without quotas: %v", err)
	}
}
