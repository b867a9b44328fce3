package publish_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/publish"
	"ingot/internal/publish/cloudtest"
	"ingot/internal/publish/host/hosttest"
	"ingot/internal/publish/ledger"
)

// ofNewVolume is a request for an image by way of a volume that an instance of the first region makes and fills.
func ofNewVolume(t *testing.T, c *cloudtest.Cloud) publish.Request {
	t.Helper()
	seed := c.Request("seed")
	seed.Regions, seed.Ledger = two[:1], scratchLedger(t)
	results, err := publish.Publish(t.Context(), c.Clients, seed)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Request("image")
	r.Regions, r.Volume, r.Host = two[:1], publish.NewVolume, c.Hosts.Launch(t, c.EC2(two[0]), two[0], results[0].ImageID)
	if _, err := c.EC2(two[0]).DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &results[0].ImageID, DeleteAssociatedSnapshots: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	return r
}

// scratchLedger is a ledger of what is of no concern to a test.
func scratchLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// noVolumes says which volumes there are that do not end with an instance.
func noVolumes(t *testing.T, c *cloudtest.Cloud) error {
	t.Helper()
	if left := hosttest.Left(t, c.EC2(two[0])); len(left) > 0 {
		return fmt.Errorf("the volumes left are %v", left)
	}
	return nil
}
