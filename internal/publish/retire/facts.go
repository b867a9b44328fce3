package retire

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

// TagDisabled is the tag of an image that says when it was disabled, in RFC 3339: EC2 does not tell.
const TagDisabled = "ingot:disabled"

// reportAge is how old a report on the use by other accounts may be to count.
const reportAge = 7 * 24 * time.Hour

// describe fills in what DescribeImages says of images that are all in one region.
func describe(ctx context.Context, client EC2, images []Image) error {
	ids := make([]string, len(images))
	for n, i := range images {
		ids[n] = i.ID
	}
	found, err := inventory.ListImages(ctx, client, inventory.Filter("image-id", ids...))
	if err != nil {
		return err
	}
	for n := range images {
		at := slices.IndexFunc(found, func(f types.Image) bool { return aws.ToString(f.ImageId) == images[n].ID })
		if at < 0 {
			images[n].Gone = true
			continue
		}
		if err := images[n].take(&found[at]); err != nil {
			return err
		}
	}
	return nil
}

// take reads an image as EC2 has it.
func (i *Image) take(f *types.Image) (err error) {
	i.Gone = f.State == types.ImageStateDeregistered
	i.Available = f.State == types.ImageStateAvailable
	i.Public = aws.ToBool(f.Public)
	i.Protected = aws.ToString(f.DeregistrationProtection) != "" && *f.DeregistrationProtection != "disabled"
	if f.State == types.ImageStateDisabled { // a tag on an image that is enabled again is of no account
		if i.Disabled, err = when(inventory.Tag(f.Tags, TagDisabled)); err != nil {
			i.Disabled = time.Time{} // somebody else's words
		}
	}
	if i.Deprecated, err = when(aws.ToString(f.DeprecationTime)); err != nil {
		return fmt.Errorf("the deprecation time of %s: %w", i.ID, err)
	}
	if i.LastLaunched, err = when(aws.ToString(f.LastLaunchedTime)); err != nil {
		return fmt.Errorf("the time of the last launch of %s: %w", i.ID, err)
	}
	return nil
}

// when reads a time of EC2's; "" is the zero time.
func when(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, text)
}

// references returns what in the account refers to an image.
func references(ctx context.Context, client EC2, image string) (names []string, err error) {
	err = inventory.Pages(ctx, "ec2:DescribeImageReferences", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
		out, err := client.DescribeImageReferences(ctx, &ec2.DescribeImageReferencesInput{ImageIds: []string{image},
			IncludeAllResourceTypes: aws.Bool(true), NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, ref := range out.ImageReferences {
			names = append(names, aws.ToString(ref.Arn))
		}
		return out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for what uses %s: %w", image, err)
	}
	return names, nil
}

// accounts returns the other accounts that use an image, from a report that EC2 makes within a day. Where there is none yet,
// one is asked for (with dry it is not), and the image counts as used until it is there.
func accounts(ctx context.Context, client EC2, image string, now time.Time, dry bool) (names []string, err error) {
	var reports []types.ImageUsageReport
	err = inventory.Pages(ctx, "ec2:DescribeImageUsageReports", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
		out, err := client.DescribeImageUsageReports(ctx, &ec2.DescribeImageUsageReportsInput{ImageIds: []string{image}, NextToken: token})
		if err != nil {
			return nil, err
		}
		reports = append(reports, out.ImageUsageReports...)
		return out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for reports on the use of %s: %w", image, err)
	}
	reports = slices.DeleteFunc(reports, func(u types.ImageUsageReport) bool {
		return aws.ToString(u.State) == "error" || now.Sub(aws.ToTime(u.CreationTime)) > reportAge
	})
	at := slices.IndexFunc(reports, func(u types.ImageUsageReport) bool { return aws.ToString(u.State) == "available" })
	switch {
	case at >= 0:
		return entries(ctx, client, aws.ToString(reports[at].ReportId))
	case len(reports) > 0:
		return []string{"a report on other accounts that is not ready yet"}, nil
	case dry:
		return []string{"a report on other accounts that is not made yet"}, nil
	}
	token := image + now.UTC().Format("-20060102")
	err = retry.Call(ctx, "ec2:CreateImageUsageReport", retry.Policy{}, func(ctx context.Context) error {
		_, err := client.CreateImageUsageReport(ctx, &ec2.CreateImageUsageReportInput{ImageId: &image, ClientToken: &token,
			ResourceTypes: []types.ImageUsageResourceTypeRequest{{ResourceType: aws.String("ec2:Instance")}, {ResourceType: aws.String("ec2:LaunchTemplate")}}})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking for a report on the use of %s: %w", image, err)
	}
	return []string{"a report on other accounts that was just asked for"}, nil
}

// entries reads a report.
func entries(ctx context.Context, client EC2, report string) (names []string, err error) {
	err = inventory.Pages(ctx, "ec2:DescribeImageUsageReportEntries", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
		out, err := client.DescribeImageUsageReportEntries(ctx, &ec2.DescribeImageUsageReportEntriesInput{ReportIds: []string{report}, NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, e := range out.ImageUsageReportEntries {
			if aws.ToInt64(e.UsageCount) > 0 {
				names = append(names, fmt.Sprintf("%d %s of account %s", *e.UsageCount, aws.ToString(e.ResourceType), aws.ToString(e.AccountId)))
			}
		}
		return out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading report %s: %w", report, err)
	}
	return names, nil
}
