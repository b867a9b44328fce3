package region

import (
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/imds"
)

// A spot instance says that it is one, cannot be stopped, and can be taken away.
func TestSpot(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	image, _ := f.register("bootable")
	ctx := t.Context()
	group, err := f.ec2.CreateSecurityGroup(ctx, &awsec2.CreateSecurityGroupInput{GroupName: aws.String("mine"), Description: aws.String("d")})
	if err != nil {
		t.Fatal(err)
	}
	market := func(in *awsec2.RunInstancesInput) {
		in.SecurityGroupIds = []string{*group.GroupId}
		in.InstanceMarketOptions = &ec2types.InstanceMarketOptionsRequest{MarketType: ec2types.MarketTypeSpot}
	}
	full, spot := f.run(image, nil), f.run(image, market)
	f.await(full, "running")
	f.await(spot, "running")
	for _, l := range runner.launches {
		want := map[string]string{"security-groups": "default", "instance-life-cycle": "on-demand"}
		if l.Instance == spot {
			want = map[string]string{"security-groups": "mine", "instance-life-cycle": "spot"}
		}
		for name, text := range want {
			w := httptest.NewRecorder()
			imds.Handler(l.metadata(), imds.Options{}).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/latest/meta-data/"+name, nil))
			if w.Body.String() != text {
				t.Errorf("its metadata have %q as %s, not %q", w.Body, name, text)
			}
		}
	}
	out, err := f.ec2.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: aws.String("instance-lifecycle"), Values: []string{"spot"}}}})
	if err != nil || len(out.Reservations) != 1 {
		t.Fatal(out, err)
	}
	if i := out.Reservations[0].Instances[0]; aws.ToString(i.InstanceId) != spot || i.InstanceLifecycle != ec2types.InstanceLifecycleTypeSpot || len(aws.ToString(i.SpotInstanceRequestId)) != len("sir-")+8 {
		t.Errorf("%s, %s, %s", aws.ToString(i.InstanceId), i.InstanceLifecycle, aws.ToString(i.SpotInstanceRequestId))
	}
	if _, err := f.ec2.StopInstances(ctx, &awsec2.StopInstancesInput{InstanceIds: []string{spot}}); code(err) != "UnsupportedOperation" {
		t.Errorf("stopping it: %v", err)
	}
	if err := f.region.Interrupt("us-east-1", full); fault.KindOf(err) != fault.Missing {
		t.Errorf("one at the full price is taken away: %v", err)
	}
	if err := f.region.Interrupt("us-east-1", spot); err != nil {
		t.Fatal(err)
	}
	if i := f.await(spot, "terminated"); i.StateReason == nil || aws.ToString(i.StateReason.Code) != "Server.SpotInstanceTermination" {
		t.Errorf("%+v", i.StateReason)
	}
}
